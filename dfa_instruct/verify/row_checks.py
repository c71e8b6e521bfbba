"""Check the promises that concern a single row: its columns, its picture, its landmarks and its labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import numpy as np

from dfa_instruct.dataset.features import MAY_BE_NULL
from dfa_instruct.face.alignment import anchors
from dfa_instruct.records import Face, Pixels, face_id_of
from dfa_instruct.schema import from_columns
from dfa_instruct.sources.pictures import BadPictureError, open_image, read_image
from dfa_instruct.verify.promises import Findings
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, PAIRINGS, REGIONS

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_nulls(findings: Findings, name: str, row: Mapping[str, Any]) -> bool:
    """Check that no value is null that must not be. Return whether this is so."""
    kept = {key: value for key, value in row.items() if key not in MAY_BE_NULL and key != "image"}
    image = row["image"] or {"bytes": None}
    null = next(chain(_nulls({**kept, "image.bytes": image["bytes"]}), _nulls(row["landmarks"] or [], "landmarks")), "")
    findings.check("columns", not null, f"{name}: {null} is null")
    return not null


def _nulls(value: Any, where: str = "") -> Iterator[str]:
    """Yield the places in a nested value at which it is null."""
    if value is None:
        yield where
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _nulls(part, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _nulls(part, f"{where}[{number}]")


def check_parameters(findings: Findings, name: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check that the parameters of a row's technique are a JSON object. Return them, or an empty dictionary."""
    try:
        known = json.loads(row["parameters"])
    except ValueError:
        known = None
    is_object = isinstance(known, dict)
    findings.check("columns", is_object, f"{name}: parameters are not a JSON object: {row['parameters'][:40]!r}")
    return known if is_object else {}


def check_source(findings: Findings, name: str, row: Mapping[str, Any]) -> None:
    """Check that a row names its source file, and that its pair and the way it was found agree with its category."""
    invented = row["category"] == "entire_face_synthesis" and row["source"] == row["technique"]
    sha256 = row["source_sha256"]
    kept = not sha256 if invented else _SHA256.fullmatch(sha256) is not None
    findings.check("sources", kept, f"{name}: source_sha256 is {sha256!r}")
    findings.check("sources", bool(row["source"] and row["source_path"]), f"{name}: its source has no name")
    if row["pair_id"] is not None:
        has_pairs = row["category"] not in ("bona_fide", "entire_face_synthesis")
        findings.check("pairs", has_pairs, f"{name}: a face of {row['category']} has the pair_id {row['pair_id']}")
    known = (*PAIRINGS, None)
    fits = row["pairing"] in known and (row["pairing"] in ("same_frame", "content")) == (row["pair_id"] is not None)
    findings.check("pairs", fits, f"{name}: its pairing is {row['pairing']!r} and its pair_id is {row['pair_id']}")


def check_image(findings: Findings, name: str, row: Mapping[str, Any]) -> Pixels | None:
    """Check that a picture decodes, has the right `face_id`, and carries its provenance. Return its pixels."""
    try:
        pixels = read_image(row["image"]["bytes"], smallest=1)
        with open_image(row["image"]["bytes"], smallest=1) as image:
            format, notes = image.format, dict(getattr(image, "text", {}))
    except BadPictureError as error:
        findings.check("images", False, f"{name}: {error}")
        return None
    if format != "PNG":
        findings.check("images", False, f"{name}: a {format} picture; expected a PNG")
        return None
    findings.check("hashes", row["face_id"] == face_id_of(pixels), f"{name}: the pixels give {face_id_of(pixels)}")
    if row["label"] == "forged":
        promised = {"label": "forged", "technique": str(row["technique"]), "source_sha256": row["source_sha256"]}
        for key, value in promised.items():
            carried = notes.get(f"dfa:{key}")
            findings.check("provenance", carried == value, f"{name}: dfa:{key} is {carried!r}; expected {value!r}")
    return pixels


def check_landmarks(findings: Findings, name: str, row: Mapping[str, Any], size: int) -> bool:
    """Check the landmarks, if there are any, in a picture of this side in pixels. Return whether they are right."""
    if row["landmarks"] is None:
        return True
    shape = (len(row["landmarks"]), *{len(point) for point in row["landmarks"]})
    findings.check("landmarks", shape == (81, 2), f"{name}: landmarks of shape {shape}; expected (81, 2)")
    if shape != (81, 2):
        return False
    points = np.array(row["landmarks"])
    # The chin and the forehead may be outside of a tightly cropped picture. Eyes, nose and mouth may not.
    inside = [*(np.abs(anchors(points) - size / 2) < size / 2).ravel(), *(np.abs(points - size / 2) < size).ravel()]
    kept = bool(np.isfinite(points).all()) and all(inside)
    extent = " to ".join(str(edge.round(1).tolist()) for edge in (points.min(0), points.max(0)))
    findings.check("landmarks", kept, f"{name}: landmarks from {extent}, in a picture of {size} px")
    return kept


def check_labels(findings: Findings, name: str, row: Mapping[str, Any]) -> bool:
    """Check that label, category, technique and artifacts agree. Return whether all of their values are known."""
    label, category, technique = row["label"], row["category"], row["technique"]
    known = category in CATEGORIES and label == ("bona_fide" if category == "bona_fide" else "forged")
    findings.check("labels", known, f"{name}: label {label!r}, category {category!r}")
    findings.check("labels", (technique is None) == (category == "bona_fide"), f"{name}: {category} by {technique!r}")
    findings.check("labels", label == "forged" or not row["artifacts"], f"{name}: bona fide, and has artifacts")
    for artifact in row["artifacts"]:
        kept = artifact["region"] in REGIONS and artifact["artifact"] in ARTIFACTS and 0 < artifact["strength"] <= 1
        findings.check("labels", kept, f"{name}: artifact {artifact}")
        known = known and kept
    return known


def face_of_row(row: Mapping[str, Any]) -> Face:
    """Return the face of a row with its pixels."""
    return from_columns(Face, row, image=read_image(row["image"]["bytes"], smallest=1), parameters={})
