"""Check the header of a card against the Hub's documentation.

The sources are its `datasetcard.md`, `modelcard.md`, the list of licences and, for Spaces, `spaces-config-reference`.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from jsonschema import Draft202012Validator

LICENCES = ["apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "llama2", "unknown", "other"]
"""The licences in the Hub's list that are used here."""
TASKS = ["visual-question-answering", "image-text-to-text", "image-classification", "text-generation"]
SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"]
_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_ID = {"type": "string", "pattern": r"^(?:[\w-]+/)?[\w.-]+$"}
_COUNT = {"type": "integer", "minimum": 0}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


_COMMON: dict[str, Any] = {
    "language": {"type": "array", "items": {"pattern": "^[a-z]{2,3}$"}},
    "license": {"enum": LICENCES},
    "license_name": {"type": "string", "pattern": r"^[a-z0-9.-]+$"},
    "license_link": {"type": "string", "pattern": r"^(LICENSE(\.md)?|https://\S+)$"},
    "tags": _TEXTS,
    "pretty_name": _TEXT,
}
_OTHER_IS_NAMED = {
    "if": {"properties": {"license": {"const": "other"}}},
    "then": {"required": ["license_name"]},
}
_INFO = _object(
    "splits download_size dataset_size",
    config_name=_TEXT,
    splits={"type": "array", "items": _object("name", name=_TEXT, num_bytes=_COUNT, num_examples=_COUNT)},
    download_size=_COUNT,
    dataset_size=_COUNT,
)
_DATASET = {
    **_object(
        "license language task_categories size_categories configs dataset_info",
        **_COMMON,
        task_categories={"type": "array", "items": {"enum": TASKS}, "minItems": 1},
        size_categories={"type": "array", "items": {"enum": SIZES}, "minItems": 1, "maxItems": 1},
        annotations_creators={"type": "array", "items": {"enum": ["machine-generated", "expert-generated"]}},
        configs={
            "type": "array",
            "minItems": 1,
            "items": _object(
                "config_name data_files",
                config_name=_TEXT,
                data_files={"type": "array", "items": _object("split path", split=_TEXT, path=_TEXT), "minItems": 1},
            ),
        },
        dataset_info={"anyOf": [_INFO, {"type": "array", "items": {**_INFO, "required": ["config_name"]}}]},
    ),
    **_OTHER_IS_NAMED,
}
_RESULT = _object(
    "task dataset metrics",
    task=_object("type", type={"enum": TASKS}),
    dataset=_object("type name", type=_ID, name=_TEXT),
    metrics={
        "type": "array",
        "minItems": 1,
        "items": _object("type value", type=_TEXT, value={"type": "number"}, name=_TEXT),
    },
)
_MODEL = {
    **_object(
        "license library_name pipeline_tag tags",
        **_COMMON,
        library_name={"enum": ["peft", "transformers"]},
        pipeline_tag={"enum": TASKS},
        base_model=_ID,
        datasets={"type": "array", "items": _ID},
        **{"model-index": {"type": "array", "items": _object("name results", results={"items": _RESULT})}},
    ),
    **_OTHER_IS_NAMED,
}
_COLOUR = {"enum": ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]}
_SPACE = {
    **_object(
        "title emoji colorFrom colorTo sdk sdk_version app_file",
        title=_TEXT,
        emoji={"type": "string", "pattern": "^[\U0001f300-\U0001faff]$"},
        colorFrom=_COLOUR,
        colorTo=_COLOUR,
        sdk={"enum": ["gradio", "docker", "static"]},
        sdk_version={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        python_version={"type": "string", "pattern": r"^3\.\d+$"},
        app_file={"type": "string", "pattern": r"^[\w/]+\.py$"},
        license={"enum": LICENCES},
        models={"type": "array", "items": _ID},
        preload_from_hub=_TEXTS,
        short_description={"type": "string", "maxLength": 60},
        tags=_TEXTS,
    ),
    "additionalProperties": False,
}
_HEADERS = {"dataset": _DATASET, "model": _MODEL, "space": _SPACE}


def problems(card: str, kind: str) -> list[str]:
    """Return the problems that the Hub would find in the header of a card."""
    header = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    if not header:
        return ["the card has no header"]
    validator = Draft202012Validator(_HEADERS[kind])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(yaml.safe_load(header[1]))]
