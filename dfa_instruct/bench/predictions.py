"""Reading and writing predictions: a Parquet file with a row for each question, and optionally the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value

from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.tasks.questions import TASKS

PREDICTIONS_FILE: Final = "predictions.parquet"
_TEXT: Final = Value("string")
FEATURES: Final = Features(
    {
        **{name: _TEXT for name in ("task", "face_id", "video")},
        "identities": List(_TEXT),
        **{name: _TEXT for name in ("label", "category", "technique", "question", "reference", "answer", "thought")},
        **{name: _TEXT for name in ("finish_reason", "one_word", "predicted")},
        "rouge_l": Value("float64"),
        "first_token": List({"word": _TEXT, "log_probability": Value("float64")}),
    }
)


def write_predictions(predictions: Sequence[Prediction], path: Path, images: Mapping[str, bytes] | None = None) -> None:
    """Write predictions, with a column of images if `images` (`face_id` → PNG file) are given."""
    features, rows = FEATURES, []
    for prediction in predictions:
        first = prediction.get("first_token") or {}
        words = [{"word": word, "log_probability": value} for word, value in first.items()]
        rows.append({**prediction, "first_token": words or None})
    if images is not None:
        features = Features({**FEATURES, "image": Image()})
        for row in rows:
            row["image"] = {"bytes": images[row["face_id"]], "path": f"{row['face_id']}.png"}
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), path)


def read_predictions(path: Path) -> list[Prediction]:
    """Read predictions from a bench's output folder, or from the file itself.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file does not hold predictions.
    """
    file = path / PREDICTIONS_FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no predictions (expected what `--output` of a bench wrote)")
    try:
        table = pq.read_table(file).select([*FEATURES])
        rows = table.cast(FEATURES.arrow_schema).to_pylist()
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{file}: not the predictions of a bench: {error}") from error
    return [_without_absent(row) for row in rows]


def _without_absent(row: dict[str, Any]) -> Prediction:
    """Remove the keys that a prediction does not have: those of other tasks, and what its model did not provide."""
    first = {entry["word"]: entry["log_probability"] for entry in row.pop("first_token") or []}
    absent = {"predicted", "rouge_l"} - {TASKS[row["task"]].column}
    absent |= {name for name in ("thought", "finish_reason", "one_word") if row[name] is None}
    kept = {name: value for name, value in row.items() if name not in absent}
    return {**kept, **({"first_token": first} if first else {})}
