"""Sources: each lists the pictures and videos of one layout on disk and reads their labels from their paths.

A source reads no pixels. It yields one `SourceItem` per picture or per frame of a video; later steps decode, detect and
align them in parallel.

A recipe names its sources by kind, and `dfa_instruct.sources.registry` creates them: `folder` (any folder of media),
`faceforensics`, `celebdf`, `df40`, `sample` (drawn portraits), and the kinds that plug-ins add. The settings of a kind
are the fields of its class's `Settings`, in the module with the name of the kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final, Protocol, runtime_checkable

from dfa_instruct.vocabulary import Category


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One picture, or one frame of a video file, with what its path or a table says about it.

    Args:
        source: The name of the source.
        source_path: The path of the file below the source's root, in POSIX form.
        identities: The people in the picture, the target first.
        video: The name of the video, which is unique.
        frame: The number of the frame in its video. For a video file, it is the frame to decode.
        pair: The `key` of the bona fide item that a forgery was made from.
        pair_candidates: The keys of bona fide frames near the forged frame, if none has its number. Their pixels decide
            which one is the pair.
        pair_only: Whether a bona fide frame was not sampled and is listed only as the pair of forgeries.
        cropped: Whether the picture is already a cropped face.
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
    pair_candidates: tuple[str, ...] = ()
    pair_only: bool = False
    cropped: bool = False

    @property
    def key(self) -> str:
        """The name of the item. It is unique in a build and the same in every build."""
        return f"{self.source}/{self.source_path}" + ("" if self.frame is None else f"#{self.frame}")


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """The frames of a clip: `files` maps the number of each to its file, `sampled` has the numbers to use."""

    clip: SourceItem
    files: Mapping[int, Path]
    sampled: Collection[int]

    def item(self, number: int) -> SourceItem:
        """Return the item of one frame."""
        file = self.files[number]
        is_video = file == self.clip.path
        return replace(
            self.clip,
            path=file,
            source_path=self.clip.source_path if is_video else f"{self.clip.source_path}/{file.name}",
            frame=number,
            pair_only=number not in self.sampled,
            cropped=not is_video,
        )


HIDDEN: Final = "hidden"
ARCHIVE: Final = "an archive that is not unpacked"
OTHER: Final = "neither a picture nor a video by its file name extension"
NOT_READ: Final = "not read by this source"
IGNORED_REASONS: Final = frozenset({HIDDEN, ARCHIVE, OTHER, NOT_READ})
"""Reasons that do not suggest that a layout was misread. Files left out for these reasons are not counted."""


@dataclass(slots=True)
class TechniqueReport:
    """Count the files that a source found for one technique, or for `bona_fide`.

    A video counts as one file. Files that `frames` and `interval` skip are not counted, and neither are ignored files.

    Args:
        found: The number of files.
        resolved: How many of them gave an item.
        paired: How many of them have a pair; for a video, one paired frame is enough.
        dropped_files: The files that gave no item, each with the reason.
        ignored_files: The files and folders that are not part of the layout, each with the reason.
        notes: Problems of files that are used, and folders that were not read.
    """

    found: int = 0
    resolved: int = 0
    paired: int = 0
    dropped_files: list[tuple[str, str]] = field(default_factory=list)
    ignored_files: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def drop(self, reason: str, file: str) -> None:
        """Count a file that gives no item."""
        self.found += 1
        self.dropped_files.append((file, reason))

    def ignore(self, reason: str, file: str) -> None:
        """Record a file or a folder that is not part of the layout, without counting it."""
        self.ignored_files.append((file, reason))

    def refuse(self, reason: str, file: str) -> None:
        """Drop a file that `dfa_instruct.sources.walk` refused, or ignore it for one of `IGNORED_REASONS`."""
        (self.ignore if reason in IGNORED_REASONS else self.drop)(reason, file)

    def use(self, paired: bool = False) -> None:
        """Count a file that gives an item."""
        self.found += 1
        self.resolved += 1
        self.paired += paired


class Source(Protocol):
    """A layout on disk, created from its `Settings`. `items` fills `report` while it runs."""

    Settings: ClassVar[type]
    """A dataclass with the keys that a recipe may set for the source, besides its kind. Its attribute `categories`, if
    it has one, holds the categories that a dataset of this source should contain."""

    name: str
    """The `source` of its items, unique in a build."""
    report: dict[str, TechniqueReport]

    def items(self) -> Iterator[SourceItem]:
        """Yield the usable items, in an order that depends on the file names only.

        Bona fide frames that are `pair_only` come before the forgeries that need them, and may come several times.

        Raises:
            FileNotFoundError, ValueError: The root is missing or contains nothing of this layout.
        """
        ...


@runtime_checkable
class BonaFideVideos(Protocol):
    """A source with bona fide videos that the forgeries of other sources were made from."""

    def frames_of(self, video: str) -> ClipFrames | None:
        """Return the frames of a bona fide video (`ff/000`, `celeb/id0_0000`, `youtube/00043`), or None."""
        ...


@runtime_checkable
class NeedsBonaFide(Protocol):
    """A source whose forgeries have their bona fide frames in other sources of the recipe."""

    bona_fide: Sequence[BonaFideVideos]
    """The other sources, set after all sources have been created."""


UNKNOWN: Final = "unknown"
"""The technique under which a report counts files whose path names no technique."""
