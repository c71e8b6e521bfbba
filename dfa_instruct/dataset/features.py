"""The columns of the dataset as `datasets` features, and the conversion of a row to them."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
from datasets import Features, Image, List, Value

from dfa_instruct.records import FaceRecord, InstructRow, QuestionAnswer
from dfa_instruct.schema import arrow_schema, to_columns
from dfa_instruct.vocabulary import Ability

_MESSAGES = List({"role": Value("string"), "content": Value("string"), "branch": Value("int32")})

_SCHEMA = pa.schema(
    [
        ("image", pa.binary()),
        *arrow_schema(FaceRecord),
        *(field for field in arrow_schema(InstructRow) if field.name != "face"),
    ]
)
FEATURES = Features({**Features.from_arrow_schema(_SCHEMA), "image": Image()})
"""The columns of the Parquet files: first the facts of the face, then its artifacts, questions and answers.

`parameters` is JSON. `landmarks` has shape (81, 2), in pixels.
"""
MAY_BE_NULL: Final = frozenset({"technique", "pair_id", "pairing", "video", "frame", "landmarks", "grounding"})

CONVERSATIONS_FEATURES = Features({"images": List(Image()), "messages": _MESSAGES, "face_id": Value("string")})
CONVERSATIONS: dict[str, tuple[Ability, ...]] = {
    "conversations": ("df_d", "df_c", "ad", "fc"),
    "conversations_d": ("df_d",),
    "conversations_d_c": ("df_d", "df_c"),
    "conversations_d_c_ad": ("df_d", "df_c", "ad"),
}
"""Config → the abilities whose questions are in its conversations."""
QA_FEATURES = Features({**CONVERSATIONS_FEATURES, **Features.from_arrow_schema(arrow_schema(QuestionAnswer))})


def row_columns(row: InstructRow, png: bytes) -> dict[str, Any]:
    """Return the columns of `FEATURES` for a row and the PNG file of its face."""
    columns = to_columns(row)
    image = {"bytes": png, "path": f"{row.face.face_id}.png"}
    return {**columns.pop("face"), "image": image, **columns}
