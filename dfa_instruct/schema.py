"""Derive the Arrow schemas of records from their fields, so that a new column only needs a new field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from dfa_instruct.records import Landmarks, Pixels

Record = TypeVar("Record")

_SCALARS: Final[dict[Any, pa.DataType]] = {
    str: pa.string(),
    Path: pa.string(),
    int: pa.int32(),
    float: pa.float32(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    Pixels: pa.binary(),
    Landmarks: pa.list_(pa.list_(pa.float32())),
}


def arrow_schema(record: type) -> pa.Schema:
    """Return the schema of a dataclass, with one nullable column per field, in the same order.

    Pixels are stored as raw bytes, landmarks as lists of points, dictionaries as JSON.

    Raises:
        TypeError: The type of a field has no column type.
    """
    hints = get_type_hints(record)
    return pa.schema([(field.name, _arrow_type(hints[field.name])) for field in fields(record)])


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = get_origin(hint), [argument for argument in get_args(hint) if argument is not NoneType]
    if origin is Literal or origin is dict:
        return pa.string()
    if origin in (Union, UnionType) and len(arguments) == 1:
        return _arrow_type(arguments[0])
    if origin in (list, tuple):
        return pa.list_(_arrow_type(arguments[0]))
    if is_dataclass(hint) and isinstance(hint, type):
        return pa.struct(list(arrow_schema(hint)))
    raise TypeError(f"there is no column type for {hint}")


def to_columns(record: Any) -> dict[str, Any]:
    """Convert a record to the values of its columns."""
    return {field.name: _to_arrow(getattr(record, field.name)) for field in fields(record)}


def _to_arrow(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype == np.uint8 else value.tolist()
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, list | tuple):
        return [_to_arrow(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    return to_columns(value) if is_dataclass(value) else value


def from_columns(record: type[Record], columns: Mapping[str, Any], **known: Any) -> Record:
    """Create a record from the values of its columns.

    Args:
        record: The class of the record.
        columns: The values by column; columns without a field are ignored.
        known: Fields that replace columns. Pixels must be given here, because the column does not have their shape.
    """
    hints = get_type_hints(record)
    names = [field.name for field in fields(record) if field.name in columns and field.name not in known]  # type: ignore[arg-type]
    return record(**{name: _from_arrow(hints[name], columns[name]) for name in names}, **known)


def _from_arrow(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    kinds: Sequence[Any] = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if Landmarks in kinds:
        return np.array(value, np.float32)
    if Path in kinds:
        return Path(value)
    origins = {get_origin(kind) for kind in kinds}
    if dict in origins:
        return json.loads(value)
    return tuple(value) if tuple in origins else value
