"""Calibrate the probability of a model's verdicts on the validation split, and measure them on the test split."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from PIL import Image
from pydantic import TypeAdapter

from dfa_instruct.sources.pictures import read_image
from dfa_instruct.vlm.load import optional_file
from modeling_dfa_gpt.picture import re_encoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALIBRATION_FILE = "calibration.json"
BATCH = 16
BOOTSTRAP_SAMPLES = 1000
MIN_IMAGES = 20
"""The number of images, or of videos, of the validation split below which nothing is calibrated."""
MIN_ACCURACY = 60
"""Percent. A warning accompanies the verdicts if the interval of the balanced accuracy extends below this value."""
MAX_ERROR_RATE = 0.05
"""The share of wrong verdicts on the validation split that is tolerated among verdicts not called uncertain."""
SOURCE_NAMES = {"sample": "drawn portraits", "faceforensics": "FaceForensics++", "celebdf": "Celeb-DF", "df40": "DF40"}
"""The names of sources in sentences. Other sources are called by their own name."""
COMPUTED_SOURCES = ("eigenface", "vae")
"""Sources whose images were computed from those of other sources."""


@dataclass(frozen=True)
class Calibration:
    """What is known about the verdicts of a model. The probability is sigmoid(scale · logit + bias) (Platt scaling).

    Attributes:
        scale: The factor of the logit.
        bias: The summand of the logit.
        images: The number of images of the validation split used to fit. 0: not calibrated.
        tested: Measurements on the test split: `images`, `people`, `balanced_acc` in percent with its 95 % interval
            over people from `low` to `high`, `apcer` (percent of forged faces called bona fide), `bpcer` (percent of
            bona fide faces called forged), `turned_forged` and `turned_bona_fide` (percent of the faces of a label
            whose verdict changes when the image is re-encoded).
        certain: The probability from which a verdict is not uncertain (for bona fide, one minus this value). Beyond it,
            at most `MAX_ERROR_RATE` of the verdicts on the validation split were wrong. None: Not measured.
        video_scale: Like `scale`, for the logit of the mean probability of a video's frames.
        video_bias: Like `bias`, for videos.
        videos: The number of videos used to fit. 0: not calibrated; the mean is reported as it is.
        trained_on: The names of the sources of the dataset.
        margin: The margin around the aligned faces of the dataset (see `dfa_instruct.face.alignment.alignment`). An
            image is cropped with the same margin before the model analyzes it.
    """

    scale: float = 1.0
    bias: float = 0.0
    images: int = 0
    tested: dict[str, float] | None = None
    certain: float | None = None
    video_scale: float = 1.0
    video_bias: float = 0.0
    videos: int = 0
    trained_on: str = ""
    margin: float = 0.0

    def probability(self, logit: float) -> float:
        """Return the probability of a forgery for a logit of `DfaGpt.forged_logits`."""
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, self.scale * logit + self.bias))))

    def video_probability(self, probabilities: Sequence[float]) -> float:
        """Return the probability that a video is forged, given those of its frames (at least one)."""
        for_videos = replace(self, scale=self.video_scale, bias=self.video_bias)
        return for_videos.probability(logit_of_mean(probabilities))

    def training_data(self) -> str:
        """Return a sentence about the training data of the model."""
        if not self.trained_on:
            return "The training data of this model is unknown, because the model was not calibrated."
        return f"This model was trained on {self.trained_on}, bona fide and forged; it knows no other images."

    def is_uncertain(self, probability: float) -> bool:
        """Return whether too many verdicts on the validation split were wrong at this probability."""
        return self.certain is not None and 1 - self.certain < probability < self.certain

    def warning(self) -> str:
        """Return a warning if the verdicts were not tested or are little better than chance, else an empty string."""
        if not self.tested:
            return "" if self.images else "The accuracy of this model's verdicts was not measured."
        if self.tested["low"] >= MIN_ACCURACY:
            return ""
        return (
            "Do not rely on the verdict: on {people:.0f} people whom the model had not seen, it was {how} better than "
            "chance (balanced accuracy {balanced_acc:.0f} %, 95 % interval {low:.0f} to {high:.0f})."
        ).format(how="not" if self.tested["low"] <= 50 else "hardly", **self.tested)

    def write(self, folder: Path) -> None:
        """Write the calibration to the folder of a model."""
        (folder / CALIBRATION_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_calibration(name: str | Path) -> Calibration:
    """Read the calibration from a model's folder or Hub repository. If there is none, the model is not calibrated.

    Raises:
        ValueError: The file is malformed.
    """
    file = optional_file(name, CALIBRATION_FILE)
    if file is None:
        return Calibration()
    try:
        calibration = Calibration(**json.loads(file.read_text(encoding="utf-8")))
        return TypeAdapter(Calibration).validate_python(asdict(calibration))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {CALIBRATION_FILE} cannot be read: {error}") from error


def calibrate(model: Any, data: Path | None, limit: int | None = None) -> Calibration:
    """Fit the probability of a model's verdicts on the validation split, and measure them on the test split.

    Nothing is fitted if the validation split has fewer than `MIN_IMAGES` faces, or only one label.

    Args:
        model: A `DfaGpt`.
        data: The dataset folder, see `dfa_instruct.bench.runner.run_bench`.
        limit: Measure on this many test images only, the same as DFA-Bench.
    """
    import numpy as np

    from dfa_instruct.bench.runner import load_rows
    from dfa_instruct.bench.scores import by_video

    rows = load_rows(data, split="validation")
    labels, face_logits, _ = verdict_logits(model, rows)
    logits = face_logits[:, 0]
    fitted = Calibration(trained_on=source_names(rows), margin=alignment_margin(rows))
    if line := fit_platt(labels, logits):
        fitted = replace(fitted, scale=line[0], bias=line[1], images=len(labels))
        probabilities = np.array([fitted.probability(logit) for logit in logits])
        fitted = replace(fitted, certain=certainty_threshold(labels, probabilities))
        video_labels, frames = by_video(rows, probabilities.tolist())
        if line := fit_platt(video_labels, np.array([logit_of_mean(video) for video in frames])):
            fitted = replace(fitted, video_scale=line[0], video_bias=line[1], videos=len(video_labels))
    labels, face_logits, people = verdict_logits(model, load_rows(data, limit), with_re_encodings=True)
    verdicts = np.array([[fitted.probability(logit) >= 0.5 for logit in logits] for logits in face_logits])
    tested = balanced_accuracy(labels, verdicts[:, 0], people)
    if tested:
        tested["apcer"] = round(100 * float((~verdicts[labels, 0]).mean()), 2)
        tested["bpcer"] = round(100 * float(verdicts[~labels, 0].mean()), 2)
        turned = (verdicts[:, 1:] != verdicts[:, :1]).any(1)
        for name, chosen in (("forged", labels), ("bona_fide", ~labels)):
            tested[f"turned_{name}"] = round(100 * float(turned[chosen].mean()), 2)
    return replace(fitted, tested=tested)


def source_names(rows: list[dict[str, Any]]) -> str:
    """Return the names of the sources of rows, without those computed from others."""
    sources = sorted({row["source"] for row in rows} - {*COMPUTED_SOURCES, None})
    return ", ".join(SOURCE_NAMES.get(source, source) for source in sources)


def alignment_margin(rows: list[dict[str, Any]]) -> float:
    """Return the margin with which the faces of a dataset were cut, in the unit of a recipe's `margin`.

    It is the median over the rows, or 0 if no row has landmarks.
    """
    import numpy as np

    from dfa_instruct.face.alignment import alignment

    margins = []
    for row in rows:
        if row["landmarks"] is not None:
            with Image.open(io.BytesIO(row["image"]["bytes"])) as square:
                transform = alignment(np.asarray(row["landmarks"], np.float32), square.width)
            margins.append((float(np.hypot(transform[0, 0], transform[1, 0])) - 1) / 2)
    return round(float(np.median(margins)), 2) + 0.0 if margins else 0.0  # + 0.0 turns -0.0 into 0.0


def fit_platt(labels: NDArray[np.bool_], logits: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the scale and bias of Platt scaling, or None for fewer than `MIN_IMAGES` or a single label."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if len(labels) < MIN_IMAGES or labels.all() or not labels.any():
        return None
    # Platt's targets count one more image of each label, so that a model without an error on a hundred faces gets a
    # probability of 99 %. Both labels have the same total weight.
    seen = np.where(labels, labels.sum(), (~labels).sum())
    target = (seen + 1) / (seen + 2)
    line = LogisticRegression(C=1e6).fit(
        np.tile(logits, 2)[:, None],
        np.concatenate([labels, ~labels]),
        np.concatenate([target / seen, (1 - target) / seen]) * len(labels),
    )
    return round(float(line.coef_[0, 0]), 4), round(float(line.intercept_[0]), 4)


def logit_of_mean(probabilities: Sequence[float]) -> float:
    """Return the logit of the mean of probabilities."""
    mean = min(1 - 1e-9, max(1e-9, fmean(probabilities)))
    return math.log(mean / (1 - mean))


def certainty_threshold(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """Return the smallest valid `Calibration.certain`, or 1 if even the most certain verdicts are too often wrong."""
    import numpy as np

    certainty = np.maximum(probabilities, 1 - probabilities)
    order = np.argsort(-certainty, kind="stable")
    wrong = ((probabilities >= 0.5) != labels)[order]
    error_rate = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    accepted = np.flatnonzero(error_rate <= MAX_ERROR_RATE)
    return round(float(certainty[order][accepted[-1]]), 4) if len(accepted) else 1.0


def verdict_logits(
    model: Any, rows: list[dict[str, Any]], with_re_encodings: bool = False
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.str_]]:
    """Return whether each row is forged, its logits of shape (rows, 1 + re-encodings), and the person it shows."""
    import numpy as np
    from tqdm import tqdm

    logits: list[list[float]] = []
    with tqdm(total=len(rows), desc="verdicts", unit="face") as progress:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            faces = [Image.fromarray(read_image(row["image"]["bytes"], smallest=1)) for row in batch]
            images = [[face, *(re_encoded(face) if with_re_encodings else ())] for face in faces]
            batch_logits = model.forged_logits([image for versions in images for image in versions])
            logits += np.reshape(batch_logits, (len(batch), -1)).tolist()
            progress.update(len(batch))
    labels = np.array([row["label"] == "forged" for row in rows])
    return labels, np.array(logits), np.array([row["identities"][0] for row in rows])


def balanced_accuracy(
    labels: NDArray[np.bool_], verdicts: NDArray[np.bool_], people: NDArray[np.str_]
) -> dict[str, float] | None:
    """Return the balanced accuracy with its 95 % bootstrap interval over people, or None for a single label."""
    import numpy as np

    if not labels.any() or labels.all():
        return None
    _, person = np.unique(people, return_inverse=True)
    counts = np.zeros((person.max() + 1, 4))  # forged, of them correct, bona fide, of them correct
    correct = labels == verdicts
    for column, chosen in enumerate((labels, labels & correct, ~labels, ~labels & correct)):
        np.add.at(counts[:, column], person[chosen], 1)

    def accuracy(summed: NDArray[np.float64]) -> NDArray[np.float64]:
        return 50 * (summed[..., 1] / summed[..., 0] + summed[..., 3] / summed[..., 2])

    drawn = np.random.default_rng(0).integers(len(counts), size=(BOOTSTRAP_SAMPLES, len(counts)))
    with np.errstate(invalid="ignore"):
        low, high = np.nanpercentile(accuracy(counts[drawn].sum(1)), (2.5, 97.5))
    figures = {"balanced_acc": float(accuracy(counts.sum(0))), "low": float(low), "high": float(high)}
    return {"images": len(labels), "people": len(counts), **{name: round(value, 2) for name, value in figures.items()}}
