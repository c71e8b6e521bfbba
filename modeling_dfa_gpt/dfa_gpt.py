"""Use DFA-GPT: converse about a face, analyze it, and merge an adapter into its base."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from dfa_instruct.hub import CARD
from dfa_instruct.vlm.inputs import TEXT_KEYS, encode_prompts, on, training_tokens
from dfa_instruct.vlm.load import ADAPTER_CONFIG, check_loadable, load_config, load_model, load_processor, naming
from dfa_instruct.vlm.messages import dialogue, render
from dfa_instruct.vlm.parts import family_of
from dfa_instruct.vocabulary import CATEGORIES, Category, Label
from modeling_dfa_gpt.calibration import Calibration, read_calibration
from modeling_dfa_gpt.conversation import Conversation
from modeling_dfa_gpt.domain import KnownFaces, read_known_faces
from modeling_dfa_gpt.forgery_map import Changed, ForgeryMap, read_forgery_map
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
"""Questions of deepfake detection, with the label for which the answer is yes."""
CLASSIFICATION_QUESTION = "Which forgery technique fits this image best, and what does it do?"
DESCRIPTION_QUESTION = "Describe the artifacts in this face."


@dataclass(frozen=True)
class Analysis:
    """The analysis of one image.

    Attributes:
        faces: The number of faces found, or None if no FaceLandmarker is available.
        aligned: Exactly one face was found and aligned like the faces of the training data.
        reason: The reason why there is no verdict or, if it was `forced`, why there should be none. Else empty.
        forced: The verdict was given in spite of `reason`.
        label: The verdict.
        probability: The probability of a forgery.
        calibrated: The probability was calibrated on a validation split of such faces.
        uncertain: Verdicts on the validation split were too often wrong at this probability
            (`Calibration.is_uncertain`).
        unstable: The verdict changes if the image is saved as a JPEG or shifted by half a pixel.
        category: The category in the classification.
        verdict: The answer to the question of detection.
        classification: The answer to the question of classification.
        description: The answer to the question of description.
        disagreements: The answers that contradict the label.
        changed: Where the face appears to have been changed, if the model has a map of forgeries.
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
    changed: Changed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dictionary for JSON."""
        return asdict(self)


class DfaGpt:
    """DFA-GPT, loaded from an adapter, a merged model or the Hub.

        model = DfaGpt.from_pretrained("runs/quickstart/adapter")
        conversation = model.chat("face.png")
        print(conversation.ask("Has this face been forged?"))

    Attributes:
        model: The Transformers model.
        processor: Its processor.
        calibration: The calibration of its verdicts.
        known_faces: The faces that the model was trained on, or None if they are unknown.
        forgery_map: The object that maps where a face was forged, or None if this was not learned.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        calibration: Calibration | None = None,
        known_faces: KnownFaces | None = None,
        forgery_map: ForgeryMap | None = None,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.calibration = calibration or Calibration()
        self.known_faces = known_faces
        self.forgery_map = forgery_map

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Load a model and its processor.

        Args:
            name: The folder of an adapter or a merged model, or a Hub id.
            device: The device. Default: the GPU if there is one.
            dtype: The type of the weights. Default: bfloat16 on a GPU, float32 elsewhere.

        Raises:
            OSError: The model, or the base of an adapter, does not exist or cannot be read.
            ValueError: The family is unknown, the weights are a pickle, or a file is malformed.
        """
        processor = load_processor(name)
        with naming(name):
            family_of(load_config(name))
            render(processor, dialogue([DETECTION_QUESTION, "Yes.", CLASSIFICATION_QUESTION]))
            calibration = read_calibration(name)
            known_faces = read_known_faces(name)
            forgery_map = read_forgery_map(name)
        loaded = cls(load_model(name, device, dtype), processor, calibration, known_faces, forgery_map)
        if forgery_map:  # fails here if it is of another vision tower, not at the first face
            with naming(name):
                forgery_map.of(loaded, [Image.new("RGB", (loaded.face_side,) * 2)])
        return loaded

    def chat(self, image: str | Path | Image.Image) -> Conversation:
        """Start a conversation about one face. Without exactly one face, it is about the whole image.

        The conversation's `notice` gives the reason if its answers are unreliable.
        """
        face = open_face(image, self.open_faces)
        return Conversation(self, face.image, notice=self.refusal_reason(face))

    def open_faces(self, picture: Image.Image) -> list[OpenedFace]:
        """Crop every face of an image in the same way as the faces of the training data."""
        return open_faces(picture, self.face_side, self.calibration.margin)

    @property
    def face_side(self) -> int:
        """The side in pixels of aligned faces. Reducing them afterwards would blur the traces of a forgery."""
        side = getattr(self.model.config.vision_config, "image_size", ALIGNED_SIDE)
        return min(ALIGNED_SIDE, side if isinstance(side, int) else min(side))

    def refusal_reason(self, face: OpenedFace) -> str:
        """Return the reason why there should be no verdict on a face, or an empty string."""
        if not face.aligned:
            return face.notice
        if self.known_faces is None:
            return ""
        return self.known_faces.reason_against(face.image, self.calibration.trained_on)

    def analyze(self, image: str | Path | Image.Image, force: bool = False) -> Analysis:
        """Detect, classify and describe one face, in one conversation.

        Args:
            image: The image, or its file.
            force: Give a verdict even if there should be none: without exactly one face (the whole image is then
                analyzed), without a FaceLandmarker, or for a face unlike those of the training data.

        Returns:
            The verdict with its probability, the category and the description; or, without a verdict, the reason.

        Raises:
            BadPictureError: The file is not a picture, or is too small to show a face.
        """
        opened = open_face(image, self.open_faces)
        return list(self.examine(opened, Conversation(self, opened.image), force))[-1]

    def examine(self, opened: OpenedFace, conversation: Conversation, force: bool = False) -> Iterator[Analysis]:
        """Analyze a face in the first turns of a conversation, and yield an extended analysis after each turn."""
        reason = self.refusal_reason(opened)
        if reason and not force:
            yield Analysis(opened.faces, opened.aligned, reason)
            return
        from dfa_instruct.bench.tasks.parsing import described_label, label_of, parse_category, parse_yes_no

        face = opened.image
        probability, *re_encoded_probabilities = (
            self.calibration.probability(x) for x in self.forged_logits([face, *re_encoded(face)])
        )
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
            unstable=any((other >= 0.5) != forged for other in re_encoded_probabilities),
            changed=self.forgery_map.changed(self, opened) if self.forgery_map else None,
        )
        yield known
        verdict = conversation.ask(DETECTION_QUESTION, begin="Yes" if forged else "No")
        classification = conversation.ask(CLASSIFICATION_QUESTION)
        category = parse_category(classification, list(CATEGORIES.values()))
        known = replace(known, verdict=verdict, classification=classification, category=category)
        yield known
        description = conversation.ask(DESCRIPTION_QUESTION)
        labels = {
            "verdict": parse_yes_no(verdict),
            "classification": label_of(category),
            "description": described_label(description),
        }
        disagreements = tuple(part for part, stated in labels.items() if stated not in (None, label))
        yield replace(known, description=description, disagreements=disagreements)

    def forged_logits(self, faces: list[Image.Image]) -> list[float]:
        """Return the logit of a forgery for each face: yes minus no, averaged over `DETECTION_QUESTIONS`.

        Half of the questions ask whether the face is bona fide, and their logits are negated, so that a preference of
        the model for yes cancels out.
        """
        import torch

        common, yes, no = self._yes_and_no()
        shares = family_of(self.model.config).shared_prefix
        answers = self._shared_answers(faces, common) if shares else self._separate_answers(faces, common)
        signs = torch.tensor([1.0 if label == "forged" else -1.0 for label in DETECTION_QUESTIONS.values()])
        difference = (answers[..., yes] - answers[..., no]).cpu() * signs
        return difference.mean(-1).tolist()

    def _shared_answers(self, faces: list[Image.Image], common: list[int]) -> torch.Tensor:
        """Return the logits that follow `common` in each answer, shape (faces, questions, vocabulary)."""
        import torch

        from modeling_dfa_gpt.shared_prefix import IGNORED, SharedPrefixCollator, rope_index_of

        messages = dialogue([text for question in DETECTION_QUESTIONS for text in (question, "Yes")])
        collator = SharedPrefixCollator(self.processor, rope_index_of(self.model))
        batch = collator([{"images": [face], "messages": messages} for face in faces])
        labels = batch.pop("labels")
        begins = (labels[0, 1:] != IGNORED) & (labels[0, :-1] == IGNORED)  # rows differ only in their image
        positions = begins.nonzero()[:, 0] + len(common)
        with torch.inference_mode():
            logits = self.model(**on(self.model, batch)).logits
        return logits[:, positions.to(logits.device)].float()

    def _separate_answers(self, faces: list[Image.Image], common: list[int]) -> torch.Tensor:
        """Return the same as `_shared_answers`, for families whose questions cannot share an image."""
        import torch

        conversations = [dialogue([question]) for question in DETECTION_QUESTIONS]
        answers = []
        for face in faces:
            inputs = encode_prompts(self.processor, conversations, [face] * len(conversations))
            begun = torch.tensor([common] * len(conversations), dtype=torch.long)
            begins = {"input_ids": begun, "attention_mask": torch.ones_like(begun)}
            for key in TEXT_KEYS & inputs.keys():
                inputs[key] = torch.cat([inputs[key], begins.get(key, torch.zeros_like(begun))], dim=1)
            with torch.inference_mode():
                answers.append(self.model(**on(self.model, inputs), logits_to_keep=1).logits[:, -1].float())
        return torch.stack(answers)

    def _yes_and_no(self) -> tuple[list[int], int, int]:
        """Return the first tokens that Yes and No share (a space, in some vocabularies), and the two that differ."""
        answers = []
        for answer in ("Yes", "No"):
            ids, in_answer = training_tokens(self.processor, dialogue([DETECTION_QUESTION, answer]))
            answers.append([token for token, is_answer in zip(ids, in_answer, strict=True) if is_answer])
        yes, no = answers
        common = next(i for i, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b)
        return yes[:common], yes[common], no[common]


def merge(adapter: Path, output: Path) -> None:
    """Merge an adapter into its base, and write a folder with a card that Transformers, lighteval and vLLM load.

    The weights have the names of the published checkpoints.

    Raises:
        FileNotFoundError: There is no adapter.
        FileExistsError: The output folder is not empty.
        OSError: The weights cannot be read, or the merged model cannot be written.
    """
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise FileNotFoundError(f"{adapter}: no adapter found (expected a folder with {ADAPTER_CONFIG})")
    check_loadable(adapter)
    with new_folder(output) as made:
        from peft import PeftConfig, PeftModel  # takes seconds, so only after the output was checked
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.conversion_mapping import get_model_conversion_mapping

        from modeling_dfa_gpt.hub.card import card_of

        with naming(adapter), warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
            model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
            merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
            processor = AutoProcessor.from_pretrained(adapter)
        # Transformers reverses the renamings that loading the base took. A base that Transformers 5 saved from scratch
        # took fewer than a published one: it has vision_tower.embeddings, not vision_tower.vision_model.embeddings.
        merged._weight_conversions = get_model_conversion_mapping(merged, add_legacy=False)
        with naming(output):
            merged.save_pretrained(made)
            processor.save_pretrained(made)
            read_calibration(adapter).write(made)
            for part in (read_known_faces(adapter), read_forgery_map(adapter)):
                if part:
                    part.write(made)
            card_of(adapter, merged=True).save(made / CARD)
