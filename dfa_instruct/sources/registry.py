"""The registry of sources by the kinds that recipes use. Other packages add kinds through an entry point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

from dfa_instruct.errors import nearest
from dfa_instruct.plugins import load_plugin
from dfa_instruct.sources import BonaFideVideos, NeedsBonaFide, Source
from dfa_instruct.sources.celebdf import CelebDFSource
from dfa_instruct.sources.df40 import DF40Source
from dfa_instruct.sources.faceforensics import FaceForensicsSource
from dfa_instruct.sources.folder import FolderSource
from dfa_instruct.sources.sample import SampleSource
from dfa_instruct.vocabulary import Category

ENTRY_POINTS: Final = "dfa_instruct.sources"
SOURCES: Final[dict[str, Any]] = {
    "folder": FolderSource,
    "faceforensics": FaceForensicsSource,
    "celebdf": CelebDFSource,
    "df40": DF40Source,
    "sample": SampleSource,
}
"""Kind → class."""


def open_source(kind: str, /, **settings: Any) -> Source:
    """Create a source from its settings in a recipe.

    Args:
        kind: A key of `SOURCES`, or the name of a plug-in.
        settings: Values for the fields of the kind's `Settings`; paths may be strings.

    Raises:
        ValueError: The kind, a setting or its value is unknown.
        FileNotFoundError: A file or folder that a setting names does not exist.
    """
    source_class, typed = _resolve(kind, settings)
    try:
        return source_class(typed)
    except RuntimeError as error:  # raised by `expanduser`
        raise ValueError(f"source {kind}: one of its paths begins with ~ and the name of an unknown user") from error


def _resolve(kind: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the class of a kind and its `Settings`; raise ValueError if one is unknown or of the wrong type."""
    from pydantic import TypeAdapter, ValidationError

    source_class = SOURCES.get(str(kind)) or load_plugin(ENTRY_POINTS, "source", str(kind), SOURCES)
    names = [field.name for field in fields(source_class.Settings)]
    for name in settings:
        if name not in names:
            raise ValueError(f"source {kind}: unknown setting {name!r}{nearest(name, names)}")
    try:
        return source_class, TypeAdapter(source_class.Settings).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
        raise ValueError(f"source {kind}: {where + ': ' if where else ''}{message}{given}") from error


def categories_of(entry: Mapping[str, Any]) -> Collection[Category]:
    """Return the categories that a source of a recipe should yield; empty if they depend on its files."""
    _, settings = _resolve(entry["kind"], {name: value for name, value in entry.items() if name != "kind"})
    categories: Collection[Category] = getattr(settings, "categories", ())
    return categories


def open_sources(entries: Iterable[Mapping[str, Any]]) -> list[Source]:
    """Create all sources of a recipe, in order. Each entry has a `kind` and the settings of that kind.

    A DF40 source finds its bona fide frames in the FaceForensics++ and Celeb-DF sources of the same recipe.

    Raises:
        ValueError: See `open_source`; an entry has no kind, or two sources have the same name.
    """
    sources: list[Source] = []
    for number, entry in enumerate(entries, 1):
        settings = dict(entry)
        if "kind" not in settings:
            raise ValueError(f"source {number} has no kind; known kinds: {', '.join(sorted(SOURCES))}")
        sources.append(open_source(settings.pop("kind"), **settings))
    for source in sources:
        if isinstance(source, NeedsBonaFide):
            source.bona_fide = [other for other in sources if isinstance(other, BonaFideVideos)]
    name, count = Counter(source.name for source in sources).most_common(1)[0] if sources else ("", 0)
    if count > 1:
        raise ValueError(f"two sources have the name {name!r}; give each a different `name`")
    return sources
