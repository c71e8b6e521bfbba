"""Using DFA-GPT: ask about a face, talk on, analyse, merge."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageOps

from dfa_instruct.vocabulary import CATEGORIES, Category, Label

DETECTION_QUESTION = "Is this face forged? Answer yes or no."
CLASSIFICATION_QUESTION = "Which forgery technique fits this image best, and what does it do?"
DESCRIPTION_QUESTION = "Describe the artifacts in this face."
MAX_NEW_TOKENS = 256
ALIGNED_SIDE = 256
"""Side of an aligned face, as in the dataset, where the model does not see a smaller one."""
ALIGNED_WITHIN = 0.06
"""How far the anchors of a face that counts as aligned may be from their places, as a share of the side."""
DETECTION_SIDE = 512


@dataclass(frozen=True)
class Analysis:
    """What DFA-GPT says of one face. `probability` is that of a forgery, from the logits of yes and no."""

    label: Label
    probability: float
    category: Category | None
    classification: str
    description: str

    def to_dict(self) -> dict[str, Any]:
        """Lay it out for JSON."""
        return asdict(self)


@dataclass
class Conversation:
    """A conversation about one face; every turn is kept and stands before the next question."""

    model: DfaGpt
    image: Image.Image
    messages: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, question: str) -> str:
        """Answer one question."""
        return "".join(self.stream(question)).strip()

    def stream(self, question: str) -> Iterator[str]:
        """Answer one question piece by piece, as it is generated; the turn is kept once the answer is whole."""
        picture = [{"type": "image", "image": self.image}] if not self.messages else []
        text = question.replace(self.model.processor.image_token, "")  # it would stand for a second picture
        asked = {"role": "user", "content": [*picture, {"type": "text", "text": text}]}
        answer = ""
        for piece in self.model.generate([*self.messages, asked]):
            answer += piece
            yield piece
        self.messages += [asked, {"role": "assistant", "content": [{"type": "text", "text": answer.strip()}]}]


class DfaGpt:
    """DFA-GPT, from an adapter folder, a merged folder or the Hub.

        model = DfaGpt.from_pretrained("runs/quickstart/adapter")
        conversation = model.chat("face.png")
        print(conversation.ask("Has this face been forged?"))

    `model` is the Transformers model and `processor` its processor; both may be used as such.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.eval()
        self.processor = processor

    @classmethod
    def from_pretrained(cls, name: str | Path, **kwargs: Any) -> Self:
        """Load a model and its processor; `kwargs` go to Transformers' `from_pretrained`.

        Raises:
            OSError: there is no such model, or not the base that an adapter names, or its weights cannot be read.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if not is_model(name):
            raise FileNotFoundError(f"{name}: no such model (expected an adapter's or a model's folder, or a Hub id)")
        with naming(name):
            processor = AutoProcessor.from_pretrained(name)
            return cls(AutoModelForImageTextToText.from_pretrained(name, **kwargs), processor)

    def chat(self, image: str | Path | Image.Image) -> Conversation:
        """Begin a conversation about one face."""
        return Conversation(self, open_face(image, self.face_side))

    @property
    def face_side(self) -> int:
        """Side that a face is aligned at: reducing it afterwards would blur the traces of a forgery away."""
        return min(ALIGNED_SIDE, getattr(self.model.config.vision_config, "image_size", ALIGNED_SIDE))

    def generate(self, messages: list[dict[str, Any]]) -> Iterator[str]:
        """Continue a conversation by one answer, greedily, piece by piece."""
        from transformers import TextIteratorStreamer

        streamer = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        inputs = self._encode(messages)
        arguments = {**inputs, "streamer": streamer, "max_new_tokens": MAX_NEW_TOKENS, "do_sample": False}
        with ThreadPoolExecutor(1) as thread:
            generating = thread.submit(self.model.generate, **arguments)
            generating.add_done_callback(lambda _: streamer.end())  # an error must not leave us waiting
            yield from streamer
            generating.result()

    def analyze(self, image: str | Path | Image.Image) -> Analysis:
        """Detect, classify and describe one face."""
        from dfa_instruct.bench.parsing import parse_category

        face = open_face(image, self.face_side)
        probability = self.forged_probability(face)
        classification = Conversation(self, face).ask(CLASSIFICATION_QUESTION)
        return Analysis(
            label="forged" if probability >= 0.5 else "bona_fide",
            probability=probability,
            category=parse_category(classification, list(CATEGORIES.values())),
            classification=classification,
            description=Conversation(self, face).ask(DESCRIPTION_QUESTION),
        )

    def forged_probability(self, image: Image.Image) -> float:
        """Return the probability of "yes" against "no" as the first word of the answer to a DF-D question."""
        import torch

        content = [{"type": "image", "image": image}, {"type": "text", "text": DETECTION_QUESTION}]
        inputs = self._encode([{"role": "user", "content": content}])
        common, yes, no = self._yes_and_no()
        for key, value in (("input_ids", common), ("attention_mask", [1] * len(common))):
            inputs[key] = torch.cat([inputs[key], inputs[key].new_tensor([value])], dim=1)
        with torch.inference_mode():
            logits = self.model(**inputs).logits[0, -1].float()
        return float(logits[[yes, no]].softmax(-1)[0])

    def _yes_and_no(self) -> tuple[list[int], int, int]:
        """Return how both answers begin (with a token for the space, in some vocabularies), then where they part."""
        prompt, yes, no = (self.processor.tokenizer.encode(f"ASSISTANT:{a}") for a in ("", " Yes", " No"))
        alike = next(i for i, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b)
        return yes[len(prompt) : alike], yes[alike], no[alike]

    def _encode(self, messages: list[dict[str, Any]]) -> Any:
        inputs = self.processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"add_special_tokens": False},
        )
        return inputs.to(self.model.device, self.model.dtype)


@contextmanager
def naming(name: str | Path) -> Iterator[None]:
    """Say in an error, as OSError or ValueError, which model could not be read or written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(f"{name}: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: a JSON file of it cannot be read: {error}") from error


def is_model(name: str | Path) -> bool:
    """Tell whether a name is a model's folder, or may be a Hub id."""
    folder = Path(name)
    if folder.is_dir():
        return any((folder / file).is_file() for file in ("config.json", "adapter_config.json"))
    return not folder.exists() and str(name).count("/") == 1 and not str(name).startswith((".", "/", "~"))


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as Pillow's, in RGB.

    Raises:
        BadPictureError: it is no picture, or too small to show a face; the message names it.
    """
    from dfa_instruct.sources.media import BadPictureError, read_image

    try:
        return Image.fromarray(read_image(Path(path)))
    except BadPictureError as error:
        raise BadPictureError(f"{path}: {error}") from error


def open_face(image: str | Path | Image.Image, side: int = ALIGNED_SIDE) -> Image.Image:
    """Open a picture and bring its face into the frame that the model was trained on, `side` pixels wide.

    One face: aligned as `dfa_instruct.faces.align` does, unless it is aligned already (another resampling would blur
    what there is to see). No face, several, or no FaceLandmarker: the whole picture, padded to a square with its mean
    colour as LLaVA does, and a line on standard error says so.

    Raises:
        BadPictureError: it is no picture, or too small to show a face.
    """
    from dfa_instruct.faces import TEMPLATE, FaceDetector, LandmarkerUnavailableError, align, anchors

    picture = image.convert("RGB") if isinstance(image, Image.Image) else open_picture(image)
    pixels = np.asarray(picture)
    longest = max(picture.size)
    try:
        with FaceDetector() as detector:
            enlargement = max(1, round(DETECTION_SIDE / longest))
            larger = picture.resize((picture.width * enlargement, picture.height * enlargement))
            found = [face / np.float32(enlargement) for face in detector.detect(np.asarray(larger))]
        notice = "" if len(found) == 1 else f"{len(found)} faces found; the whole picture is looked at"
    except LandmarkerUnavailableError as error:
        found, notice = [], f"the face was not aligned: {error}"
    if len(found) == 1:
        offsets = np.abs(anchors(found[0]) / longest - TEMPLATE)
        aligned = picture.width == picture.height and offsets.max() < ALIGNED_WITHIN
        return picture if aligned else Image.fromarray(align(pixels, found[0], side)[0])
    name = "" if isinstance(image, Image.Image) else f"{image}: "
    print(f"{name}{notice}", file=sys.stderr)
    mean = tuple(int(c) for c in pixels.reshape(-1, 3).mean(0).round())
    return ImageOps.pad(picture, (longest, longest), color=mean)


def merge(adapter: Path, output: Path) -> None:
    """Merge an adapter into its base: a folder that plain Transformers, lighteval and vLLM load.

    Raises:
        FileNotFoundError: there is no adapter.
        FileExistsError: the output folder holds something.
        OSError: the weights cannot be read, or what is merged not be written.
    """
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if not (adapter / "adapter_config.json").is_file():
        raise FileNotFoundError(f"{adapter}: no adapter there (expected a folder with adapter_config.json)")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} holds something already; name an empty or a new folder")
    base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    if not is_model(base):
        raise FileNotFoundError(f"{adapter}: its base model {base} is not there")
    with naming(adapter):
        model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    output.parent.mkdir(parents=True, exist_ok=True)
    with naming(output), tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        made = Path(scratch) / "merged"
        merged.save_pretrained(made)
        AutoProcessor.from_pretrained(adapter).save_pretrained(made)
        made.rename(output)  # whole, or not at all
