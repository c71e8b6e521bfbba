"""Where faces come from: each source lists the pictures of one layout on disk and says what their paths tell.

A source reads no pixel. It yields one `SourceItem` a picture (or a frame of a video); the engine decodes, detects and
aligns them later, in parallel.

A recipe names its sources by kind, and `dfa_instruct.sources.registry` makes them: `folder` (one's own media),
`faceforensics`, `celebdf`, `df40`, `sample` (drawn portraits), and those of plug-ins. What a kind can be told stands in
its class's `Settings`, in the module that is called as the kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final, Protocol, runtime_checkable

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


HIDDEN: Final = "hidden"
ARCHIVE: Final = "an archive that is not unpacked"
OTHER: Final = "neither a picture nor a video by the end of its name"
NOT_READ: Final = "not among what this source reads"
PASSED_OVER: Final = frozenset({HIDDEN, ARCHIVE, OTHER, NOT_READ})
"""Reasons that say nothing of how well a layout is understood: what is left out for them counts for no rate."""


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

    def leave_out(self, reason: str, file: str) -> None:
        """Name what `dfa_instruct.sources.walk.entries` refused; where that says something of a layout, count it."""
        (self.pass_over if reason in PASSED_OVER else self.drop)(reason, file)

    def use(self, paired: bool = False) -> None:
        """Count a file that gives an item."""
        self.found += 1
        self.resolved += 1
        self.paired += paired


class Source(Protocol):
    """A layout on disk, made from its `Settings`. `report` is filled while `items` runs."""

    Settings: ClassVar[type]
    """A dataclass: what a recipe may say of the source, beside its kind. Its `categories`, where it has them, are
    those that a dataset of such a source is expected to hold."""

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


@runtime_checkable
class SeeksBonaFide(Protocol):
    """A source whose forgeries have their bona fide frames in other sources of the recipe."""

    bona_fide: Sequence[BonaFideVideos]
    """Those sources; they are given when all are open."""


UNKNOWN: Final = "unknown"
"""The technique that a report counts files under when their path names none."""
