"""The sources by the kinds that a recipe names them by; another package adds its own by an entry point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

from dfa_instruct.errors import nearest
from dfa_instruct.plugins import plug_in
from dfa_instruct.sources import BonaFideVideos, SeeksBonaFide, Source
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
"""Kind → its class."""


def open_source(kind: str, /, **settings: Any) -> Source:
    """Make a source from what a recipe says of it.

    Args:
        kind: one of `SOURCES`, or the name of a plug-in.
        settings: the fields of the kind's `Settings`; strings where they are paths will do.

    Raises:
        ValueError: the kind, a setting or its value is not known.
        FileNotFoundError: what a setting names is not there.
    """
    source_class = source_class_of(kind)
    typed = typed_settings(kind, source_class, settings)
    try:
        return source_class(typed)
    except RuntimeError as error:  # there is no such home directory
        raise ValueError(f"source {kind}: a path of it begins with ~ and a name that no user has") from error


def source_class_of(kind: str) -> Any:
    """Return the class of a kind, ours or a plug-in's; ValueError where the kind is not known."""
    return SOURCES.get(str(kind)) or plug_in(ENTRY_POINTS, "source", str(kind), SOURCES)


def typed_settings(kind: str, source_class: Any, settings: Mapping[str, Any]) -> Any:
    """Return the `Settings` of a kind; ValueError where one is not known or of the wrong type."""
    from pydantic import TypeAdapter, ValidationError

    names = [field.name for field in fields(source_class.Settings)]
    for name in settings:
        if name not in names:
            raise ValueError(f"source {kind}: unknown setting {name!r}{nearest(name, names)}")
    try:
        return TypeAdapter(source_class.Settings).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
        said = first["msg"].removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
        raise ValueError(f"source {kind}: {where + ': ' if where else ''}{said}{given}") from error


def categories_of(entry: Mapping[str, Any]) -> Collection[Category]:
    """Return the categories that a source of a recipe is made to yield; none where its files alone tell."""
    settings = dict(entry)
    source_class = source_class_of(kind := settings.pop("kind"))
    found: Collection[Category] = getattr(typed_settings(kind, source_class, settings), "categories", ())
    return found


def open_sources(entries: Iterable[Mapping[str, Any]]) -> list[Source]:
    """Make all sources of a recipe, in its order: each entry has a `kind` and the kind's settings.

    DF40 finds its bona fide frames in the FaceForensics++ and Celeb-DF sources that stand beside it.

    Raises:
        ValueError: see `open_source`; an entry has no kind, or two sources have the same name.
    """
    opened: list[Source] = []
    for number, entry in enumerate(entries, 1):
        settings = dict(entry)
        if "kind" not in settings:
            raise ValueError(f"source {number} has no kind; known: {', '.join(sorted(SOURCES))}")
        opened.append(open_source(settings.pop("kind"), **settings))
    for source in opened:
        if isinstance(source, SeeksBonaFide):
            source.bona_fide = [other for other in opened if isinstance(other, BonaFideVideos)]
    names = Counter(source.name for source in opened)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"two sources are called {twice[0]!r}; give each a `name` of its own")
    return opened
