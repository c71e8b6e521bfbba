"""Predictions on disk: one Parquet file, a row a question, without the pictures unless they are asked for."""

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
    """Write predictions; `images` (`face_id` → PNG) make one more column, of pictures."""
    features, rows = FEATURES, [_laid_out(prediction) for prediction in predictions]
    if images is not None:
        features = Features({**FEATURES, "image": Image()})
        for row in rows:
            row["image"] = {"bytes": images[row["face_id"]], "path": f"{row['face_id']}.png"}
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), path)


def _laid_out(prediction: Prediction) -> dict[str, Any]:
    first = prediction.get("first_token") or {}
    said = [{"word": word, "log_probability": value} for word, value in first.items()]
    return {**prediction, "first_token": said or None}


def read_predictions(where: Path) -> list[Prediction]:
    """Read the predictions of a bench's output folder, or of the file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no file of predictions.
    """
    path = where / PREDICTIONS_FILE if where.is_dir() else where
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no predictions (expected what `--output` of a bench wrote)")
    try:
        table = pq.read_table(path).select([*FEATURES])
        rows = table.cast(FEATURES.arrow_schema).to_pylist()
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path}: not the predictions of a bench: {error}") from error
    return [_as_made(row) for row in rows]


def _as_made(row: dict[str, Any]) -> Prediction:
    """Leave out the columns that a prediction does not have: those of other tasks, and what its model does not tell."""
    first = {said["word"]: said["log_probability"] for said in row.pop("first_token") or []}
    absent = {"predicted", "rouge_l"} - {TASKS[row["task"]].column}
    absent |= {name for name in ("thought", "finish_reason", "one_word") if row[name] is None}
    kept = {name: value for name, value in row.items() if name not in absent}
    return {**kept, **({"first_token": first} if first else {})}
