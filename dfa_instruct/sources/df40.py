"""DF40: forty techniques, in the layouts of its archives, its lists and its users.

`canonical_path` converts a path to one form, `<technique>/<rest>` in lower case. The first of `RULES` that matches it
says who is in the picture. The bona fide frames of forgeries are in the FaceForensics++ and Celeb-DF sources.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from posixpath import join
from typing import Final

from dfa_instruct.sources import NOT_READ, UNKNOWN, BonaFideVideos, ClipFrames, SourceItem, TechniqueReport
from dfa_instruct.sources.clips import ClipSettings, add_frame, clip_items, with_pair
from dfa_instruct.sources.deepfakebench import listed_files
from dfa_instruct.sources.technique_names import (
    DATASET_TECHNIQUES,
    find_technique,
    require_techniques,
    select_techniques,
)
from dfa_instruct.sources.walk import is_picture, is_video, walk
from dfa_instruct.vocabulary import Category

TECHNIQUES: Final = DATASET_TECHNIQUES["df40"]
IGNORED_LEVELS: Final = frozenset({"ff", "ffpp", "cdf", "cdfv1", "cdfv2", "frames", "videos"})
"""Folders to skip: the names below them already tell the datasets apart."""
OTHER_DATASETS: Final = re.compile(
    r"faceforensics(\+\+|pp)?|celeb-df(-v\d)?|celeb-synthesis|(original|manipulated)_sequences"
)
"""Folders of the bona fide datasets, which have sources of their own."""

IGNORED_PICTURES: Final[tuple[tuple[str, str], ...]] = (
    (r"e4e/(.+/)?inversions/.+", "numbered across all videos, so the number identifies nobody"),
    (r"[^/]+/(.+/)?masks?/.+", "a mask, not a face"),
)
"""Pattern of a canonical path → the reason to ignore such pictures."""
_FILE = r"(/(?P<file>[^/]+))?"
RULES: Final[tuple[tuple[str, str], ...]] = (
    # pattern                                                          meaning
    (r"e4e/(?P<ff>\d{3})/(?P<running>\d+)", "FF++ video; its frame numbers continue those of the video before"),
    (r"[^/]+/(.+/)?celeb-real_(?P<celeb>id\d+)_(?P<take>\d+)_\d+", "Celeb-DF clip, from the name of the picture"),
    (r"[^/]+/(.+/)?youtube-real_(?P<youtube>\d{5})_\d+", "YouTube clip, from the name of the picture"),
    (rf"[^/]+/(?P<ff>\d{{3}})_(?P<ff_donor>\d{{3}}){_FILE}", "FF++ A_B: A is the target, B the donor or driver"),
    (rf"[^/]+/(?P<ff>\d{{3}}){_FILE}", "FF++ video"),
    (rf"(sadtalker|wav2lip)/(?P<ff>\d{{3}})(?!\d)[^/]*{_FILE}", "FF++ video, then a voice, which has no face"),
    (
        rf"[^/]+/(?P<celeb>id\d+)_(?P<celeb_donor>id\d+)_(?P<take>\d+){_FILE}",
        "Celeb-DF: the first id is the target and owns the clip, the second is the donor",
    ),
    (rf"[^/]+/(celeb-real/)?(?P<celeb>id\d+)_(?P<take>\d+){_FILE}", "Celeb-DF clip of one person"),
    (rf"[^/]+/((celeb|youtube)-real/)?(?P<youtube>\d{{5}}){_FILE}", "YouTube clip, an identity of its own"),
    (r"(stargan|starganv2|styleclip)/(real|fake)/(?P<portrait>[^/]+)", "a portrait that the three may share"),
    (rf"[^/]+/(real|fake)/(?P<own>[^/]+){_FILE}", "a person who is known to this technique only"),
)
"""Pattern of a canonical path → its meaning. The groups give the identities: `ff`, `celeb` and `youtube` are identities
of the bona fide sources, `_donor` marks the second one, `portrait` and `own` are identities of DF40 only. A generator's
folder with the number of a bona fide video gets the identity of that video, and so its split."""
_RULES: Final = tuple(re.compile(pattern) for pattern, _ in RULES)
UNRECOGNISED: Final = (
    "a path without a known identity (expected a folder named like 000_003, 000, id0_id1_0000, id0_0000 or "
    "00043, or real or fake)"
)
"""The reason to drop a file that matches no rule."""


@dataclass(frozen=True, slots=True)
class DF40Settings(ClipSettings):
    """Which part of DF40 to read.

    Args:
        root: The folder that contains the techniques' folders, at any depth.
        techniques: The techniques to read, each of which must exist; None reads all that exist and reports the folders
            of no technique as `unknown`.
        lists: A JSON list of DeepfakeBench, or a folder of such lists; if given, only the listed files are used and
            missing ones are counted.
    """

    techniques: tuple[str, ...] | None = None
    lists: Path | None = None

    def __post_init__(self) -> None:
        ClipSettings.__post_init__(self)
        select_techniques("df40", self.techniques)

    @property
    def categories(self) -> set[Category]:
        """The categories of the items."""
        return set(select_techniques("df40", self.techniques).values())


@dataclass(frozen=True, slots=True)
class PathInfo:
    """The information in a path; for the first fields, see `SourceItem`.

    Args:
        bona_fide: The name of the bona fide video that a forgery was made from.
        file: The part of the path with the number of the frame.
        in_order: Whether that number only gives the order of the frames.
    """

    category: Category
    technique: str | None
    identities: tuple[str, ...]
    video: str | None
    bona_fide: str | None
    file: str | None
    in_order: bool = False


def canonical_path(path: str) -> tuple[str, str] | None:
    """Return the technique that a path belongs to, and the path's canonical form `<technique>/<rest>`.

    The canonical form is in lower case and has no file extension. It omits the folders above the technique's folder,
    the folders in `IGNORED_LEVELS`, the prefix `Fake_from_`, and folders that repeat the technique, `real` or `fake`.
    The result is None if the path does not belong to DF40.
    """
    folder, _, name = path.casefold().replace("fake_from_", "").rpartition("/")
    found = _canonical_folder(folder)
    return found and (found[0], f"{found[1]}/{name.rpartition('.')[0] or name}")


@lru_cache(maxsize=1024)
def _canonical_folder(path: str) -> tuple[str, str] | None:
    folders = path.split("/")
    if any(OTHER_DATASETS.fullmatch(folder) for folder in folders):
        return None
    starts = [i + 1 for i, folder in enumerate(folders) if folder in ("df40", "df40_train")]
    for at in range(starts[-1] if starts else 0, len(folders)):
        if technique := find_technique("df40", folders[at]):
            break
    else:
        return None
    kept = [technique.casefold()]
    for folder in folders[at + 1 :]:
        again = find_technique("df40", folder) == technique or folder.startswith(f"{kept[0]}_")
        doubled = (again and len(kept) == 1) or (folder in ("real", "fake") and folder in kept)
        if folder not in IGNORED_LEVELS and not doubled:
            kept.append(folder)
    return technique, "/".join(kept)


def parse_path(technique: str, path: str) -> PathInfo | None:
    """Return the information in a canonical path, or None if no rule matches it."""
    match = next((found for rule in _RULES if (found := rule.fullmatch(path))), None)
    groups = {name: value for name, value in match.groupdict().items() if value} if match else {}
    if not groups:
        return None
    category: Category = TECHNIQUES[technique]
    dataset = next(name for name in ("ff", "celeb", "youtube", "portrait", "own") if name in groups)
    target = groups[dataset]
    if dataset in ("portrait", "own"):
        prefix = "portrait" if dataset == "portrait" else technique
        is_real, file = "/real/" in path, groups.get("file")
        video = f"{technique}/{'real' if is_real else 'fake'}/{target}" if file else None
        if is_real:
            return PathInfo("bona_fide", None, (f"{prefix}/{target}",), video, None, file)
        return PathInfo(category, technique, (f"{prefix}/{target}",), video, None, file)
    donor = groups.get(f"{dataset}_donor")
    identities = (f"{dataset}/{target}", *([f"{dataset}/{donor}"] if donor else []))
    if category == "entire_face_synthesis":
        return PathInfo(category, technique, identities, None, None, None)
    take = [groups["take"]] if "take" in groups else []
    video = f"{technique}/{dataset}/{'_'.join([target, *([donor] if donor else []), *take])}"
    bona_fide = f"{dataset}/{'_'.join([target, *take])}"
    file = groups.get("file") or groups.get("running")
    return PathInfo(category, technique, identities, video, bona_fide, file, in_order="running" in groups)


class DF40Source:
    """DF40 on disk, with the identities of FaceForensics++ (`ff/…`) and Celeb-DF (`celeb/…`, `youtube/…`)."""

    Settings = DF40Settings
    name = "df40"

    def __init__(self, settings: DF40Settings) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.bona_fide: Sequence[BonaFideVideos] = ()
        self.report: dict[str, TechniqueReport] = {}
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder")
        self._root_name = self.root.resolve().name  # the root may be the folder of one technique
        self._techniques = select_techniques("df40", settings.techniques)
        self._listed = None if settings.lists is None else self._read_lists(settings.lists.expanduser())

    def items(self) -> Iterator[SourceItem]:
        """Yield the pictures folder by folder; of a folder of frames, yield the sampled ones."""
        self.report = defaultdict(TechniqueReport)
        self._seen: set[tuple[str, str]] = set()
        unlisted: Counter[str] = Counter()
        refused: dict[str, str] = {}
        above_techniques: set[str] = set()
        other_folders: set[str] = set()  # folders with pictures of no technique
        for below, names in walk(
            self.root, refused.__setitem__, enter=self._may_contain, follow_links=self.settings.follow_links
        ):
            if canonical_path(f"{self._root_name}/{below}/x"):
                above_techniques.update(map(str, PurePosixPath(below).parents))
            else:
                other_folders.add(below or ".")
            clips: dict[PathInfo, dict[int, str]] = defaultdict(dict)
            for name in names:
                file = join(below, name)
                info = self._parse(file, unlisted)
                if info is None:
                    continue
                report = self.report[info.technique or "bona_fide"]
                if is_video(name):
                    bona_fide = self._bona_fide_frames(info.bona_fide)
                    yield from clip_items(self._item(file, info), self.settings, report, bona_fide)
                elif info.video is None:
                    report.use()
                    yield self._item(file, info)
                else:
                    add_frame(clips[replace(info, file=None)], info.file or "", file, report, file)
            for info, files in clips.items():
                yield from self._frames(info, files)
        for file, reason in refused.items():
            self._report_refused(file, reason)
        self._report_other_folders(other_folders, above_techniques)
        for technique, file in sorted((self._listed or set()) - self._seen):
            self.report[technique].drop("listed, not on disk", file)
        for technique, count in unlisted.items():
            self.report[technique].notes.append(f"{count} files are in no list and were not used")
        require_techniques("df40", self.settings.techniques, self.report, self.root)
        if not any(found.found for found in self.report.values()):
            raise ValueError(f"{self.root}: nothing of DF40 in it (expected folders named {', '.join(TECHNIQUES)})")

    def _report_refused(self, file: str, reason: str) -> None:
        if reason == NOT_READ:
            self.report[UNKNOWN].ignore(reason, file)
        elif self._may_contain(file):
            found = canonical_path(f"{self._root_name}/{file}/x")
            report = self.report[found[0] if found else UNKNOWN]
            if found and (is_picture(file) or is_video(file)):
                report.refuse(reason, file)
            else:
                report.ignore(reason, file)

    def _report_other_folders(self, folders: Collection[str], above_techniques: Collection[str]) -> None:
        """Report the highest folders that contain no technique, and the loose files in folders that do."""
        names: set[str] = set()
        for folder in folders:
            candidates = [*map(str, reversed(PurePosixPath(folder).parents)), folder]
            if topmost := next((name for name in candidates if name not in above_techniques), None):
                names.add(topmost)
            else:
                below = "" if folder == "." else folder
                names.update(join(below, name) for name in self.settings.entries(below)[0])
        for name in sorted(names):
            self.report[UNKNOWN].ignore("not read, because it belongs to no technique of DF40", name)

    def _may_contain(self, folder: str) -> bool:
        """Return whether to read a folder: it belongs to no unselected technique and to no bona fide dataset."""
        if any(OTHER_DATASETS.fullmatch(part.casefold()) for part in (self._root_name, *folder.split("/"))):
            return False
        found = canonical_path(f"{self._root_name}/{folder}/x")
        return found is None or found[0] in self._techniques

    def _parse(self, file: str, unlisted: Counter[str]) -> PathInfo | None:
        """Return the information in a file's path, or None if the file is not selected or cannot be used."""
        technique, path = canonical_path(f"{self._root_name}/{file}") or (UNKNOWN, "")
        if technique not in self._techniques:
            return None
        if self._listed is not None:
            entry = _list_entry(technique, path)
            if entry not in self._listed:
                unlisted[technique] += 1
                return None
            self._seen.add(entry)
        if reason := next((reason for pattern, reason in IGNORED_PICTURES if re.fullmatch(pattern, path)), None):
            self.report[technique].ignore(reason, file)
            return None
        info = parse_path(technique, path)
        if info is None:
            self.report[technique].drop(UNRECOGNISED, file)
        return info

    def _item(self, file: str, info: PathInfo, frame: int | None = None) -> SourceItem:
        about = info.category, info.technique, info.identities, info.video, frame
        return SourceItem(self.root / file, self.name, file, *about, cropped=is_picture(file))

    def _bona_fide_frames(self, video: str | None) -> ClipFrames | None:
        return next((frames for source in self.bona_fide if video and (frames := source.frames_of(video))), None)

    def _frames(self, info: PathInfo, files: dict[int, str]) -> Iterator[SourceItem]:
        """Yield the sampled frames of a folder, with their pairs."""
        bona_fide = self._bona_fide_frames(info.bona_fide)
        numbers = sorted(files)
        likely_numbers: dict[int, int] = {}
        if info.in_order:
            sampled = self.settings.choice.of(numbers)
            without_gaps = numbers[-1] - numbers[0] + 1 == len(numbers)
            if bona_fide and without_gaps and len(bona_fide.sampled) == len(sampled):
                likely_numbers = dict(zip(sampled, bona_fide.sampled, strict=True))
            else:
                bona_fide = None
        else:
            sampled = self.settings.choice.of(numbers, bona_fide.sampled if bona_fide else ())
        for number in sampled:
            item = self._item(files[number], info, number)
            *pair_only, item = with_pair(item, bona_fide, self.settings.pair_within, likely_numbers.get(number))
            self.report[info.technique or "bona_fide"].use(paired=item.pair is not None)
            yield from (*pair_only, item)

    def _read_lists(self, path: Path) -> set[tuple[str, str]]:
        """Return the technique and canonical path of each listed file of the selected techniques."""
        listed = {_list_entry(*found) for name in listed_files(path) if (found := canonical_path(name))}
        if not listed:
            raise ValueError(f"{path}: names no file of DF40")
        return {entry for entry in listed if entry[0] in self._techniques}


def _list_entry(technique: str, path: str) -> tuple[str, str]:
    """Return the form in which files and list entries are compared: lists have all FF++ frames of e4e in one folder."""
    return technique, re.sub(r"^e4e/(\d{3}|inversions)/", "e4e/", path)
