"""The columns of the dataset, as `datasets` and Arrow know them, and a row laid out in them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from datasets import Features, Image, List, Value

from dfa_instruct.records import InstructRow
from dfa_instruct.vocabulary import Ability

_MESSAGES = List({"role": Value("string"), "content": Value("string"), "branch": Value("int32")})
_QA = {"ability": Value("string"), "question": Value("string"), "answer": Value("string")}

FEATURES = Features(
    {
        "image": Image(),
        "face_id": Value("string"),
        "label": Value("string"),
        "category": Value("string"),
        "technique": Value("string"),
        "source": Value("string"),
        "pair_id": Value("string"),
        "pairing": Value("string"),
        "identities": List(Value("string")),
        "source_path": Value("string"),
        "source_sha256": Value("string"),
        "video": Value("string"),
        "frame": Value("int32"),
        "landmarks": List(List(Value("float32"))),
        "parameters": Value("string"),
        "split": Value("string"),
        "artifacts": List({"region": Value("string"), "artifact": Value("string"), "strength": Value("float32")}),
        "qa": List({**_QA, "template": Value("string")}),
        "bench": List({**_QA, "options": List(Value("string"))}),
    }
)
"""The columns of the Parquet files. `parameters` is JSON; `landmarks` has shape (81, 2), in pixels."""

CONVERSATIONS_FEATURES = Features({"images": List(Image()), "messages": _MESSAGES, "face_id": Value("string")})
CONVERSATIONS: dict[str, tuple[Ability, ...]] = {
    "conversations": ("df_d", "df_c", "ad", "fc"),
    "conversations_d": ("df_d",),
    "conversations_d_c": ("df_d", "df_c"),
    "conversations_d_c_ad": ("df_d", "df_c", "ad"),
}
"""Config → the abilities whose questions its conversations hold."""
QA_FEATURES = Features({**CONVERSATIONS_FEATURES, **_QA, "template": Value("string")})


def to_columns(row: InstructRow) -> dict[str, Any]:
    """Lay a row out as the columns of `FEATURES`, the image encoded as PNG."""
    face = row.face
    return {
        "image": {"bytes": face.to_png(), "path": f"{face.face_id}.png"},
        "face_id": face.face_id,
        "label": face.label,
        "category": face.category,
        "technique": face.technique,
        "source": face.source,
        "pair_id": face.pair_id,
        "pairing": face.pairing,
        "identities": list(face.identities),
        "source_path": face.source_path,
        "source_sha256": face.source_sha256,
        "video": face.video,
        "frame": face.frame,
        "landmarks": None if face.landmarks is None else face.landmarks.round(2).tolist(),
        "parameters": json.dumps(face.parameters, sort_keys=True),
        "split": face.split,
        "artifacts": [asdict(artifact) for artifact in row.artifacts],
        "qa": [asdict(pair) for pair in row.qa],
        "bench": [asdict(question) for question in row.bench],
    }
