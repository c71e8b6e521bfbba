"""Using DFA-GPT: converse about a face, analyse it, merge an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from dfa_instruct.hub import CARD
from dfa_instruct.vlm.inputs import on, training_tokens
from dfa_instruct.vlm.load import ADAPTER_CONFIG, check_loadable, load_config, load_model, load_processor, naming
from dfa_instruct.vlm.messages import dialogue, render
from dfa_instruct.vlm.parts import family_of
from dfa_instruct.vocabulary import CATEGORIES, Category, Label
from modeling_dfa_gpt.calibration import Calibration, read_calibration
from modeling_dfa_gpt.conversation import Conversation
from modeling_dfa_gpt.domain import KnownFaces, read_known_faces
from modeling_dfa_gpt.new_folder import new_folder
from modeling_dfa_gpt.picture import ALIGNED_SIDE, OpenedFace, open_face, open_faces, re_encoded

if TYPE_CHECKING:
    import torch

DETECTION_QUESTION = "Is this face forged?"
DETECTION_QUESTIONS: dict[str, Label] = {
    "Is this face forged?": "forged",
    "Is this a deepfake?": "forged",
    "Was this face manipulated?": "forged",
    "Is this face bona fide?": "bona_fide",
    "Is this face genuine?": "bona_fide",
    "Is this a real photograph of a face?": "bona_fide",
}
"""Phrasings of DF-D, and the label that makes the answer a yes."""
CLASSIFICATION_QUESTION = "Which forgery technique fits this image best, and what does it do?"
DESCRIPTION_QUESTION = "Describe the artifacts in this face."


@dataclass(frozen=True)
class Analysis:
    """What DFA-GPT says of one picture.

    Attributes:
        faces: how many were found in it; None: no FaceLandmarker was at hand.
        aligned: one face was found and brought into the frame that the model was trained on.
        reason: why there is no verdict, or, where it was `forced`, why there should be none; else empty.
        forced: the verdict was given in spite of `reason`.
        label, probability: the verdict, and the probability of a forgery.
        calibrated: that probability was calibrated on a validation split of such faces.
        uncertain: the probability lies where verdicts on the validation split were too often wrong
            (`Calibration.is_uncertain`).
        unstable: the picture saved as a JPEG, or shifted by half a pixel, gets the other verdict.
        category, verdict, classification, description: from the turns of one conversation.
        disagreements: which of these turns contradict the label.
    """

    faces: int | None
    aligned: bool
    reason: str = ""
    forced: bool = False
    label: Label | None = None
    probability: float | None = None
    calibrated: bool = False
    uncertain: bool = False
    unstable: bool = False
    category: Category | None = None
    verdict: str = ""
    classification: str = ""
    description: str = ""
    disagreements: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Lay it out for JSON."""
        return asdict(self)


class DfaGpt:
    """DFA-GPT, from an adapter folder, a merged folder or the Hub.

        model = DfaGpt.from_pretrained("runs/quickstart/adapter")
        conversation = model.chat("face.png")
        print(conversation.ask("Has this face been forged?"))

    `model` is the Transformers model and `processor` its processor; both may be used as such.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        calibration: Calibration | None = None,
        known_faces: KnownFaces | None = None,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.calibration = calibration or Calibration()
        self.known_faces = known_faces

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Load a model and its processor.

        Args:
            name: an adapter's or a merged model's folder, or a Hub id.
            device: where it computes; else on a GPU where there is one.
            dtype: what it computes in; else bfloat16 on a GPU, float32 elsewhere.

        Raises:
            OSError: there is no such model, or not the base that an adapter names, or its weights cannot be read.
            ValueError: its family is unknown, its weights are a pickle, or a file of it is not as expected.
        """
        processor = load_processor(name)
        with naming(name):
            family_of(load_config(name))
            render(processor, dialogue([DETECTION_QUESTION, "Yes.", CLASSIFICATION_QUESTION]))
            calibration = read_calibration(name)
            known_faces = read_known_faces(name)
        return cls(load_model(name, device, dtype), processor, calibration, known_faces)

    def chat(self, image: str | Path | Image.Image) -> Conversation:
        """Begin a conversation about one face; a picture that shows none, or several, is looked at whole.

        The conversation's `notice` says why its answers mean little, where they do.
        """
        face = open_face(image, self.open_faces)
        return Conversation(self, face.image, notice=self.reason_against(face))

    def open_faces(self, picture: Image.Image) -> list[OpenedFace]:
        """Cut every face of a picture as the faces were cut that the model was trained on."""
        return open_faces(picture, self.face_side, self.calibration.margin)

    def reason_against(self, face: OpenedFace) -> str:
        """Say why there should be no verdict on a face; empty where nothing speaks against one."""
        if not face.aligned:
            return face.notice
        if self.known_faces is None:
            return ""
        return self.known_faces.reason_against(face.image, self.calibration.trained_on)

    @property
    def face_side(self) -> int:
        """Side that a face is aligned at: reducing it afterwards would blur the traces of a forgery away."""
        return min(ALIGNED_SIDE, getattr(self.model.config.vision_config, "image_size", ALIGNED_SIDE))

    def analyze(self, image: str | Path | Image.Image, force: bool = False) -> Analysis:
        """Detect, classify and describe one face, in one conversation.

        There is no verdict, unless it is forced, on a picture with no face or several (it is then looked at whole),
        without a FaceLandmarker, or on a face unlike those that the model was trained on.
        """
        opened = open_face(image, self.open_faces)
        return list(self.examine(opened, Conversation(self, opened.image), force))[-1]

    def examine(self, opened: OpenedFace, conversation: Conversation, force: bool = False) -> Iterator[Analysis]:
        """Analyse a face as the first turns of a conversation about it; yield what is known, more after each turn."""
        reason = self.reason_against(opened)
        if reason and not force:
            yield Analysis(opened.faces, opened.aligned, reason)
            return
        from dfa_instruct.bench.tasks.parsing import described_label, label_of, parse_category, parse_yes_no

        face = opened.image
        probability, *again = (self.calibration.probability(x) for x in self.forged_logits([face, *re_encoded(face)]))
        forged = probability >= 0.5
        label: Label = "forged" if forged else "bona_fide"
        known = Analysis(
            faces=opened.faces,
            aligned=opened.aligned,
            reason=reason,
            forced=bool(reason),
            label=label,
            probability=probability,
            calibrated=self.calibration.images > 0 and not reason,
            uncertain=self.calibration.is_uncertain(probability),
            unstable=any((other >= 0.5) != forged for other in again),
        )
        yield known
        verdict = conversation.ask(DETECTION_QUESTION, begin="Yes" if forged else "No")
        classification = conversation.ask(CLASSIFICATION_QUESTION)
        category = parse_category(classification, list(CATEGORIES.values()))
        known = replace(known, verdict=verdict, classification=classification, category=category)
        yield known
        description = conversation.ask(DESCRIPTION_QUESTION)
        said = {
            "verdict": parse_yes_no(verdict),
            "classification": label_of(category),
            "description": described_label(description),
        }
        disagreements = tuple(part for part, told in said.items() if told not in (None, label))
        yield replace(known, description=description, disagreements=disagreements)

    def forged_logits(self, faces: list[Image.Image]) -> list[float]:
        """Return for each face the logit of a forgery: yes less no, averaged over `DETECTION_QUESTIONS`.

        Half of these ask whether the face is bona fide, and count the other way round: an inclination to yes cancels.
        """
        import torch

        from modeling_dfa_gpt.shared_prefix import IGNORED, SharedPrefixCollator

        common, yes, no = self._yes_and_no()
        messages = dialogue([text for question in DETECTION_QUESTIONS for text in (question, "Yes")])
        batch = SharedPrefixCollator(self.processor)([{"images": [face], "messages": messages} for face in faces])
        labels = batch.pop("labels")
        begins = (labels[0, 1:] != IGNORED) & (labels[0, :-1] == IGNORED)  # all rows are alike but for their picture
        before = begins.nonzero()[:, 0] + len(common)
        with torch.inference_mode():
            logits = self.model(**on(self.model, batch)).logits
        chosen = logits[:, before.to(logits.device)].float()
        means_forged = torch.tensor([1.0 if label == "forged" else -1.0 for label in DETECTION_QUESTIONS.values()])
        difference = (chosen[..., yes] - chosen[..., no]).cpu() * means_forged
        return [float(logit) for logit in difference.mean(-1)]

    def _yes_and_no(self) -> tuple[list[int], int, int]:
        """Return the tokens that Yes and No have in common (a space, in some vocabularies), then those that differ."""
        yes, no = (self._answer_tokens(answer) for answer in ("Yes", "No"))
        alike = next(i for i, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b)
        return yes[:alike], yes[alike], no[alike]

    def _answer_tokens(self, answer: str) -> list[int]:
        """Return the tokens that an answer is written in, with what ends it."""
        ids, learnt = training_tokens(self.processor, dialogue([DETECTION_QUESTION, answer]))
        return [token for token, is_learnt in zip(ids, learnt, strict=True) if is_learnt]


def merge(adapter: Path, output: Path) -> None:
    """Merge an adapter into its base: a folder with a card, that plain Transformers and lighteval load.

    Raises:
        FileNotFoundError: there is no adapter.
        FileExistsError: the output folder holds something.
        OSError: the weights cannot be read, or what is merged not be written.
    """
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise FileNotFoundError(f"{adapter}: no adapter there (expected a folder with {ADAPTER_CONFIG})")
    check_loadable(adapter)
    with new_folder(output) as made:
        from peft import PeftConfig, PeftModel  # after the output was checked: these imports take seconds
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from modeling_dfa_gpt.hub.card import card_of

        with naming(adapter), warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
            model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
            merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
            processor = AutoProcessor.from_pretrained(adapter)
        with naming(output):
            merged.save_pretrained(made)
            processor.save_pretrained(made)
            read_calibration(adapter).write(made)
            if known_faces := read_known_faces(adapter):
                known_faces.write(made)
            card_of(adapter, merged=True).save(made / CARD)
