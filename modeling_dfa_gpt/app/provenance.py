"""Read what a file states about its origin, as text: the EXIF tags and the C2PA manifest (Content Credentials)."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import ExifTags, Image

from dfa_instruct.errors import printable

Tags = tuple[tuple[str, str], ...]
"""Pairs of name and value, short and printable."""
MAX_TAGS = 64
MAX_VALUE_LENGTH = 200
"""Characters of one value."""
OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
SIGNATURE_FIELDS = ("common_name", "issuer", "time")
STATES = {
    "Trusted": "the signature is valid, and its certificate is trusted",
    "Valid": "the signature is valid and the file was not changed since; the signer's identity was not checked",
    "Invalid": "the signature is not valid: the file was changed after it was signed, or the manifest is broken",
}


def c2pa_as_text(content: bytes) -> Tags | None:
    """Return what a file's C2PA manifest states: its signer, the program that made it, the actions, the errors.

    Neither remote manifests nor certificates are fetched.

    Returns:
        The statements; empty if the file has no manifest; None if `c2pa-python` is not installed.
    """
    try:
        import c2pa
    except ImportError:
        return None
    try:
        context = c2pa.Context.from_dict(OFFLINE)
        reader = c2pa.Reader.try_create(io.BytesIO(content), context=context)
        store = json.loads(reader.json()) if reader else {}
        manifest = store.get("manifests", {}).get(store.get("active_manifest"))
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
    programs = [f"{p.get('name')} {p.get('version', '')}".strip() for p in manifest.get("claim_generator_info", ())]
    found = {
        "State": STATES.get(store.get("validation_state", ""), "not stated"),
        "Signed by": ", ".join(dict.fromkeys(str(signature[key]) for key in SIGNATURE_FIELDS if key in signature)),
        "Made with": ", ".join(programs),
        "Title": manifest.get("title", ""),
        "Actions": ", ".join(actions),
        "Errors": ", ".join(status.get("explanation", "") for status in store.get("validation_status", ())),
    }
    return tuple((name, _as_text(value)) for name, value in found.items() if value)


def exif_as_text(image: Image.Image) -> Tags:
    """Return the EXIF tags of an image as text. If they are damaged, return one tag that says so."""
    try:
        exif = image.getexif()
        groups: list[tuple[dict[int, str], Any]] = [
            (ExifTags.TAGS, exif),
            (ExifTags.TAGS, exif.get_ifd(ExifTags.IFD.Exif)),
            (ExifTags.GPSTAGS, exif.get_ifd(ExifTags.IFD.GPSInfo)),
        ]
        found = [
            (names.get(tag, f"tag {tag}"), _as_text(value)) for names, group in groups for tag, value in group.items()
        ]
    except Exception:  # Pillow raises many kinds of errors on malformed EXIF
        return (("EXIF", "cannot be read"),)
    return tuple(found[:MAX_TAGS])


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.rstrip(b"\0").decode("ascii", "replace")
        return text[:MAX_VALUE_LENGTH] if text.isprintable() and "\ufffd" not in text else f"{len(value)} bytes"
    if isinstance(value, tuple):
        return ", ".join(map(_as_text, value[:16])) + (", …" if len(value) > 16 else "")
    return printable(str(value).rstrip("\0")[:MAX_VALUE_LENGTH])
