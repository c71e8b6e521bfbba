"""How far a verdict may be believed: its probability, calibrated on the validation split, and what it was tested on."""

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
from modeling_dfa_gpt.picture import re_encoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALIBRATION_FILE = "calibration.json"
BATCH = 16
DRAWS = 1000
LEAST_IMAGES = 20
"""Of the validation split, images or videos; with fewer, or one label only, nothing can be calibrated."""
OF_USE = 60
"""Percent: a verdict whose balanced accuracy has an interval that reaches below it is said with a warning."""
SHOWN = {"sample": "drawn portraits", "faceforensics": "FaceForensics++", "celebdf": "Celeb-DF", "df40": "DF40"}
"""Source of a row → what its pictures show; other sources speak for themselves."""
COMPUTED = ("eigenface", "vae")
"""Sources whose pictures were computed from those of the others."""
TOLERATED = 0.05
"""The share of wrong verdicts on the validation split that are tolerated where a verdict is not called uncertain."""


@dataclass(frozen=True)
class Calibration:
    """What is known of a model's verdicts: probability = sigmoid(scale · logit + bias) (Platt's scaling).

    `images` of the validation split made it; 0: it was not calibrated. `tested` says what came of it on the test split:
    `images`, `people`, the balanced accuracy in percent, `low` and `high`, its 95 % interval over people;
    `apcer` and `bpcer`: percent of the forged faces that were called bona fide, and the other way round;
    `turned_forged` and `turned_bona_fide`: percent of a label's faces of which a re-encoded picture turns the verdict.

    `certain`: the probability from which on (and, for bona fide, below one less it) a verdict is not uncertain; among
    the verdicts beyond, at most `TOLERATED` were wrong on the validation split. None: it was not measured.

    `trained_on` names what the pictures of the dataset show, and `margin` says how its faces are cut (see
    `dfa_instruct.face.detection.alignment`): a picture is cut in the same way before the model looks at it.

    `video_scale`, `video_bias`: the same scaling for videos, of the logit of the mean probability of their frames.
    `videos` of the validation split made it; 0: it was not calibrated, and the mean is what is said.
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
        """Return the probability of a forgery from the logit of `DfaGpt.forged_logits`."""
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, self.scale * logit + self.bias))))

    def video_probability(self, probabilities: Sequence[float]) -> float:
        """Return the probability that a video is forged from those of its frames, at least one."""
        of_videos = replace(self, scale=self.video_scale, bias=self.video_bias)
        return of_videos.probability(logit_of_mean(probabilities))

    def training_data(self) -> str:
        """Say in one sentence what the model was trained on, as far as it is known."""
        if not self.trained_on:
            return "What this model was trained on is not stated: it was not calibrated."
        return f"This model was trained on {self.trained_on} and on forgeries of them; it knows no other pictures."

    def is_uncertain(self, probability: float) -> bool:
        """Tell whether a probability lies where verdicts on the validation split were too often wrong."""
        return self.certain is not None and 1 - self.certain < probability < self.certain

    def warning(self) -> str:
        """Say that a model was not measured, or how little better than chance its verdict was; else say nothing."""
        if not self.tested:
            return "" if self.images else "It was not measured how often this model's verdicts are right."
        if self.tested["low"] >= OF_USE:
            return ""
        return (
            "Do not rely on the verdict: on {people:.0f} people that it had not seen it was {how} better than chance "
            "(balanced accuracy {balanced_acc:.0f} %, 95 % interval {low:.0f} to {high:.0f})."
        ).format(how="not" if self.tested["low"] <= 50 else "hardly", **self.tested)

    def write(self, folder: Path) -> None:
        """Write it into a model's folder."""
        (folder / CALIBRATION_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_calibration(name: str | Path) -> Calibration:
    """Read what stands in a model's folder or Hub repository; without it, nothing was calibrated.

    Raises:
        ValueError: the file is not as this module writes it.
    """
    from transformers.utils import cached_file

    file = cached_file(
        str(name),
        CALIBRATION_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if file is None:
        return Calibration()
    try:
        read = Calibration(**json.loads(Path(file).read_text(encoding="utf-8")))
        return TypeAdapter(Calibration).validate_python(asdict(read))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {CALIBRATION_FILE} cannot be read: {error}") from error


def calibrate(model: Any, data: Path | None, limit: int | None = None) -> Calibration:
    """Fit the probability of a `DfaGpt`'s verdicts on a dataset's validation split, and test it on the test split.

    Nothing is fitted where the validation split has fewer than `LEAST_IMAGES` faces, or one label.

    Args:
        model: a `DfaGpt`.
        data: the dataset folder, see `dfa_instruct.bench.runner.run_bench`.
        limit: test on this many images only, the same as DFA-Bench.
    """
    import numpy as np

    from dfa_instruct.bench.runner import load_rows
    from dfa_instruct.bench.scores import by_video

    rows = load_rows(data, split="validation")
    labels, of_faces, _ = verdict_logits(model, rows)
    logits = of_faces[:, 0]
    fitted = Calibration(trained_on=trained_on(rows), margin=margin_of(rows))
    if line := platt(labels, logits):
        fitted = replace(fitted, scale=line[0], bias=line[1], images=len(labels))
        probabilities = np.array([fitted.probability(logit) for logit in logits])
        fitted = replace(fitted, certain=certain_from(labels, probabilities))
        of_videos, frames = by_video(rows, probabilities.tolist())
        if line := platt(of_videos, np.array([logit_of_mean(of_one) for of_one in frames])):
            fitted = replace(fitted, video_scale=line[0], video_bias=line[1], videos=len(of_videos))
    labels, logits, people = verdict_logits(model, load_rows(data, limit), again=True)
    verdicts = np.array([[fitted.probability(logit) >= 0.5 for logit in of_face] for of_face in logits])
    tested = balanced_accuracy(labels, verdicts[:, 0], people)
    if tested:
        tested["apcer"] = round(100 * float((~verdicts[labels, 0]).mean()), 2)
        tested["bpcer"] = round(100 * float(verdicts[~labels, 0].mean()), 2)
        turned = (verdicts[:, 1:] != verdicts[:, :1]).any(1)
        for name, chosen in (("forged", labels), ("bona_fide", ~labels)):
            tested[f"turned_{name}"] = round(100 * float(turned[chosen].mean()), 2)
    return replace(fitted, tested=tested)


def trained_on(rows: list[dict[str, Any]]) -> str:
    """Name what the pictures of rows show, by their sources."""
    sources = sorted({row["source"] for row in rows} - {*COMPUTED, None})
    return ", ".join(SHOWN.get(source, source) for source in sources)


def margin_of(rows: list[dict[str, Any]]) -> float:
    """Return the margin that aligned faces were cut with, the median over rows; 0 where none has landmarks."""
    import numpy as np

    from dfa_instruct.face.detection import alignment

    margins = []
    for row in rows:
        if row["landmarks"] is not None:
            with Image.open(io.BytesIO(row["image"]["bytes"])) as square:
                transform = alignment(np.asarray(row["landmarks"], np.float32), square.width)
            margins.append((float(np.hypot(transform[0, 0], transform[1, 0])) - 1) / 2)
    return round(float(np.median(margins)), 2) + 0.0 if margins else 0.0  # no -0.0


def platt(labels: NDArray[np.bool_], logits: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return scale and bias of Platt's scaling; None for fewer than `LEAST_IMAGES`, or for one label only."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if len(labels) < LEAST_IMAGES or labels.all() or not labels.any():
        return None
    # Platt's targets: a label counts as if one image more of each kind had been seen, so that a model which errs on
    # none of a hundred faces is believed to 99 %. The two labels weigh the same in all.
    seen = np.where(labels, labels.sum(), (~labels).sum())
    sure = (seen + 1) / (seen + 2)
    line = LogisticRegression(C=1e6).fit(
        np.tile(logits, 2)[:, None],
        np.concatenate([labels, ~labels]),
        np.concatenate([sure / seen, (1 - sure) / seen]) * len(labels),
    )
    return round(float(line.coef_[0, 0]), 4), round(float(line.intercept_[0]), 4)


def logit_of_mean(probabilities: Sequence[float]) -> float:
    """Return the logit of the mean of probabilities."""
    mean = min(1 - 1e-9, max(1e-9, fmean(probabilities)))
    return math.log(mean / (1 - mean))


def certain_from(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """Return the least `Calibration.certain` for faces of known labels; 1 where even the surest are too often wrong."""
    import numpy as np

    sureness = np.maximum(probabilities, 1 - probabilities)
    order = np.argsort(-sureness, kind="stable")
    wrong = ((probabilities >= 0.5) != labels)[order]
    rate = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    good = np.flatnonzero(rate <= TOLERATED)
    return round(float(sureness[order][good[-1]]), 4) if len(good) else 1.0


def verdict_logits(
    model: Any, rows: list[dict[str, Any]], again: bool = False
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.str_]]:
    """Return for each row whether it is forged, its logits, and whom it shows.

    The logits (see `DfaGpt.forged_logits`), shape (rows, 1 + re-encodings), are of the picture and, where these are
    asked for, of the same re-encoded.
    """
    import numpy as np
    from tqdm import tqdm

    logits: list[list[float]] = []
    with tqdm(total=len(rows), desc="verdicts", unit="face") as progress:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            faces = [Image.fromarray(read_image(row["image"]["bytes"], smallest=1)) for row in batch]
            shown = [[face, *(re_encoded(face) if again else ())] for face in faces]
            of_all = iter(model.forged_logits([picture for pictures in shown for picture in pictures]))
            logits += [[next(of_all) for _ in pictures] for pictures in shown]
            progress.update(len(batch))
    labels = np.array([row["label"] == "forged" for row in rows])
    return labels, np.array(logits), np.array([row["identities"][0] for row in rows])


def balanced_accuracy(
    labels: NDArray[np.bool_], verdicts: NDArray[np.bool_], people: NDArray[np.str_]
) -> dict[str, float] | None:
    """Return the balanced accuracy with its 95 % interval, people drawn with replacement; none for a single label."""
    import numpy as np

    _, person = np.unique(people, return_inverse=True)
    counts = np.zeros((person.max() + 1, 4))  # forged, forged and said so, bona fide, bona fide and said so
    right = labels == verdicts
    for column, chosen in enumerate((labels, labels & right, ~labels, ~labels & right)):
        np.add.at(counts[:, column], person[chosen], 1)

    def balanced(summed: NDArray[np.float64]) -> NDArray[np.float64]:
        return 50 * (summed[..., 1] / summed[..., 0] + summed[..., 3] / summed[..., 2])

    if not labels.any() or labels.all():
        return None
    drawn = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    with np.errstate(invalid="ignore"):
        low, high = np.nanpercentile(balanced(counts[drawn].sum(1)), (2.5, 97.5))
    figures = {"balanced_acc": float(balanced(counts.sum(0))), "low": float(low), "high": float(high)}
    return {"images": len(labels), "people": len(counts), **{name: round(value, 2) for name, value in figures.items()}}
