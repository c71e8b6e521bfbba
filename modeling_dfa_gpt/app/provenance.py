"""What a file says of where it comes from, as text: its EXIF tags and its C2PA manifest (Content Credentials)."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import ExifTags, Image

from dfa_instruct.errors import printable

Tags = tuple[tuple[str, str], ...]
"""Names and values, short and printable."""
MOST_TAGS = 64
LONGEST_TAG = 200
"""Characters of one value that are kept."""
OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
SIGNATURE = ("common_name", "issuer", "time")
STATES = {
    "Trusted": "the signature holds, by a certificate that is trusted",
    "Valid": "the signature holds and the file was not changed since; whether its signer can be trusted was not asked",
    "Invalid": "it does not hold: the file was changed since it was signed, or the manifest is broken",
}


def c2pa_as_text(content: bytes) -> Tags | None:
    """Return what the C2PA manifest of a file says: who signed it, what made the file; nothing where it has none.

    None: `c2pa-python` is not installed. Nothing is fetched: neither a manifest that lies elsewhere nor a certificate.
    """
    try:
        import c2pa
    except ImportError:
        return None
    try:
        context = c2pa.Context.from_dict(OFFLINE)
        reader = c2pa.Reader.try_create(io.BytesIO(content), context=context)
        told = json.loads(reader.json()) if reader else {}
        manifest = told.get("manifests", {}).get(told.get("active_manifest"))
    except (c2pa.C2paError, ValueError):
        return (("C2PA", "cannot be read"),)
    if manifest is None:
        return ()
    signature = manifest.get("signature_info", {})
    actions = [
        f"{action.get('action')} {action.get('digitalSourceType', '').rpartition('/')[2]}".strip()
        for assertion in manifest.get("assertions", ())
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]
    found = {
        "State": STATES.get(told.get("validation_state", ""), "not told"),
        "Signed by": ", ".join(dict.fromkeys(str(signature[key]) for key in SIGNATURE if key in signature)),
        "Made with": ", ".join(
            f"{made.get('name')} {made.get('version', '')}".strip() for made in manifest.get("claim_generator_info", ())
        ),
        "Title": manifest.get("title", ""),
        "What was done": ", ".join(actions),
        "Found wrong": ", ".join(status.get("explanation", "") for status in told.get("validation_status", ())),
    }
    return tuple((name, _value(value)) for name, value in found.items() if value)


def exif_as_text(image: Image.Image) -> Tags:
    """Return the EXIF tags of an image as (name, value), short and printable; one that says so if they are broken."""
    try:
        exif = image.getexif()
        groups: list[tuple[dict[int, str], Any]] = [
            (ExifTags.TAGS, exif),
            (ExifTags.TAGS, exif.get_ifd(ExifTags.IFD.Exif)),
            (ExifTags.GPSTAGS, exif.get_ifd(ExifTags.IFD.GPSInfo)),
        ]
        found = [
            (names.get(tag, f"tag {tag}"), _value(value)) for names, group in groups for tag, value in group.items()
        ]
    except Exception:  # Pillow raises errors of nearly every kind on malformed EXIF
        return (("EXIF", "cannot be read"),)
    return tuple(found[:MOST_TAGS])


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.rstrip(b"\0").decode("ascii", "replace")
        return text[:LONGEST_TAG] if text.isprintable() and "\ufffd" not in text else f"{len(value)} bytes"
    if isinstance(value, tuple):
        return ", ".join(map(_value, value[:16])) + (", …" if len(value) > 16 else "")
    return printable(str(value).rstrip("\0")[:LONGEST_TAG])
