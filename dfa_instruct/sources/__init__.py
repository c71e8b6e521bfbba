"""Where faces come from: each source lists the pictures of one layout on disk and says what their paths tell.

A source reads no pixel. It yields one `SourceItem` a picture (or a frame of a video); the engine decodes, detects and
aligns them later, in parallel.

A recipe names its sources by kind and `open_sources` makes them: `folder` (one's own media), `faceforensics`,
`celebdf`, `df40`, `sample` (drawn portraits). What a kind can be told stands in its settings, `FolderSettings` and so
on, in the module that is called as the kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from dfa_instruct.vocabulary import Category


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One picture on disk, or one frame of a video file, and what its path or a table says of it.

    `path` is the file, `source_path` its name below the source's root (POSIX). `frame` is the number of the frame in
    its video: of a video file it is the frame to decode, of a picture the number in its name. `video` names the video,
    the same for all of its frames and for no other one. `pair` is the `key` of the bona fide item that a forgery was
    made from; where none has its number, `among` may name frames near it, and their pixels say which it is. `sought`
    says that a bona fide frame was not chosen, and is of use to forgeries only. `cropped` says that the picture is a
    cropped face already.
    """

    path: Path
    source: str
    source_path: str
    category: Category
    technique: str | None
    identities: tuple[str, ...]
    video: str | None = None
    frame: int | None = None
    pair: str | None = None
    among: tuple[str, ...] = ()
    sought: bool = False
    cropped: bool = False

    @property
    def key(self) -> str:
        """Name the item: unique in a build, the same in every build."""
        return f"{self.source}/{self.source_path}" + ("" if self.frame is None else f"#{self.frame}")


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a clip: `files` has all that are there, by number, each with the file it is in."""

    clip: SourceItem
    files: Mapping[int, Path]
    chosen: Collection[int]

    def item(self, number: int) -> SourceItem:
        """Name one frame."""
        file = self.files[number]
        return replace(
            self.clip,
            path=file,
            source_path=self.clip.source_path if file == self.clip.path else f"{self.clip.source_path}/{file.name}",
            frame=number,
            sought=number not in self.chosen,
            cropped=file != self.clip.path,
        )


@dataclass(slots=True)
class TechniqueReport:
    """What a source found of one technique (or of `bona_fide`): files, how many gave an item, how many have a pair.

    A pair is the bona fide frame of a forged one's own number, or the picture that a table names; of a video, one frame
    is enough. All counts are of files, a video being one. Files that `frames` and `interval` pass over are not among
    them, nor is what was passed over knowingly.
    """

    found: int = 0
    resolved: int = 0
    paired: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Files that give no item, each with its reason."""
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    """What is known to give none and was not looked into, each with its reason: no sign that a layout is misread."""
    notes: list[str] = field(default_factory=list)
    """What is wrong with files that are used, and what was not looked at."""

    @property
    def dropped(self) -> Counter[str]:
        """Reason → files."""
        return Counter(reason for _, reason in self.left_out)

    def drop(self, reason: str, file: str) -> None:
        """Count a file that was found and gives no item."""
        self.found += 1
        self.left_out.append((file, reason))

    def pass_over(self, reason: str, file: str) -> None:
        """Name a file or a folder that is known to give no item; it counts for no rate."""
        self.passed_over.append((file, reason))

    def use(self, paired: bool = False) -> None:
        """Count a file that gives an item."""
        self.found += 1
        self.resolved += 1
        self.paired += paired


class Source(Protocol):
    """A layout on disk. `report` is filled while `items` runs."""

    name: str
    """The `source` of its items: unique in a build."""
    report: dict[str, TechniqueReport]

    def items(self) -> Iterator[SourceItem]:
        """Yield what can be used, in an order that depends on the names only.

        Bona fide frames that are `sought` come before the forgeries that seek them, each as often as it is sought.

        Raises:
            FileNotFoundError, ValueError: the root is missing or holds nothing of this layout.
        """
        ...


@runtime_checkable
class BonaFideVideos(Protocol):
    """A source that other sources' forgeries find their bona fide frames in."""

    def frames_of(self, video: str) -> Frames | None:
        """Return the frames of a bona fide video (`ff/000`, `celeb/id0_0000`, `youtube/00043`), if it is there."""
        ...


UNKNOWN: Final = "unknown"
"""The technique that a report counts files under when their path names none."""

KINDS: Final[dict[str, str]] = {
    "folder": "FolderSource",
    "faceforensics": "FaceForensicsSource",
    "celebdf": "CelebDFSource",
    "df40": "DF40Source",
    "sample": "SampleSource",
}
"""Kind → its class, in the module of the same name; its settings are the class's first argument."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which known word was meant, and which there are: the end of a message about an unknown word."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.5) or [
        k for k in known if get_close_matches(word.casefold(), [k.casefold()], cutoff=0.5)
    ]
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}known: {', '.join(known)}"


def open_source(kind: str, /, bona_fide: Sequence[Source] = (), **settings: Any) -> Source:
    """Make a source from what a recipe says of it.

    Args:
        kind: one of `KINDS`.
        bona_fide: the sources in which `df40` looks for the bona fide frames of its forgeries.
        settings: the fields of the kind's settings; strings where they are paths will do.

    Raises:
        ValueError: the kind, a setting or its value is not known.
    """
    from pydantic import TypeAdapter, ValidationError

    if kind not in KINDS:
        raise ValueError(f"unknown source {kind!r}; {suggestion(str(kind), KINDS)}")
    module = import_module(f"dfa_instruct.sources.{kind}")
    source_class = getattr(module, KINDS[kind])
    settings_class = getattr(module, KINDS[kind].removesuffix("Source") + "Settings")
    names = [f.name for f in fields(settings_class)]
    for name in settings:
        if name not in names:
            raise ValueError(f"source {kind}: unknown setting {name!r}; {suggestion(name, names)}")
    try:
        typed = TypeAdapter(settings_class).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"source {kind}: {where + ': ' if where else ''}{first['msg']}") from error
    return source_class(typed, bona_fide) if kind == "df40" else source_class(typed)


def open_sources(entries: Iterable[Mapping[str, Any]]) -> list[Source]:
    """Make all sources of a recipe, in its order: each entry has a `kind` and the kind's settings.

    DF40 finds its bona fide frames in the FaceForensics++ and Celeb-DF sources that stand beside it.

    Raises:
        ValueError: see `open_source`; an entry has no kind, or two sources have the same name.
    """
    opened: dict[int, Source] = {}
    for number, entry in sorted(enumerate(entries), key=lambda numbered: numbered[1].get("kind") == "df40"):
        settings = dict(entry)
        if "kind" not in settings:
            raise ValueError(f"source {number + 1} has no kind; known: {', '.join(sorted(KINDS))}")
        bona_fide = [source for source in opened.values() if isinstance(source, BonaFideVideos)]
        opened[number] = open_source(settings.pop("kind"), bona_fide, **settings)
    names = Counter(source.name for source in opened.values())
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"two sources are called {twice[0]!r}; give each a `name` of its own")
    return [opened[number] for number in sorted(opened)]
