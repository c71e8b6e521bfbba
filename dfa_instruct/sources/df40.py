"""DF40: forty techniques, in the layouts in which its archives, its lists and its users have left them.

A path is first brought to one form, `<technique>/<rest>` in lower case, by `canonical`; then the first of `RULES` that
fits says whom it shows. A forgery's bona fide frame is looked for in the FaceForensics++ and Celeb-DF sources.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from dfa_instruct.errors import nearest
from dfa_instruct.sources import NOT_READ, UNKNOWN, BonaFideVideos, Frames, SourceItem, TechniqueReport
from dfa_instruct.sources.clips import ClipSettings, clip_items, frame_number, with_pair
from dfa_instruct.sources.deepfakebench import listed_files
from dfa_instruct.sources.technique_names import DATASET_TECHNIQUES, asked_for, find_technique, require
from dfa_instruct.sources.walk import is_picture, is_video, walk
from dfa_instruct.vocabulary import Category

TECHNIQUES: Final = DATASET_TECHNIQUES["df40"]
LEVELS: Final = frozenset({"ff", "ffpp", "cdf", "cdfv1", "cdfv2", "frames", "videos"})
"""Folders that say nothing: the form of the names below them tells the datasets apart."""
FOREIGN: Final = re.compile(r"faceforensics(\+\+|pp)?|celeb-df(-v\d)?|celeb-synthesis|(original|manipulated)_sequences")
"""Folders of the bona fide datasets, which have sources of their own."""

NOBODY: Final[tuple[tuple[str, str], ...]] = (
    (r"e4e/(.+/)?inversions/.+", "numbered through all videos: the number names nobody"),
    (r"[^/]+/(.+/)?masks?/.+", "a mask, no face"),
)
"""Pattern over a canonical path → why such pictures are passed over."""
_FILE = r"(/(?P<file>[^/]+))?"
RULES: Final[tuple[tuple[str, str], ...]] = (
    # fits                                                             what it means
    (r"e4e/(?P<ff>\d{3})/(?P<running>\d+)", "FF++ video; its frames are numbered on from the video before"),
    (r"[^/]+/(.+/)?celeb-real_(?P<celeb>id\d+)_(?P<take>\d+)_\d+", "Celeb-DF clip, named by the picture"),
    (r"[^/]+/(.+/)?youtube-real_(?P<youtube>\d{5})_\d+", "YouTube clip, named by the picture"),
    (rf"[^/]+/(?P<ff>\d{{3}})_(?P<ff_donor>\d{{3}}){_FILE}", "FF++ A_B: A the target, B the donor or driver"),
    (rf"[^/]+/(?P<ff>\d{{3}}){_FILE}", "FF++ video"),
    (rf"(sadtalker|wav2lip)/(?P<ff>\d{{3}})(?!\d)[^/]*{_FILE}", "FF++ video, then a voice: it has no face"),
    (
        rf"[^/]+/(?P<celeb>id\d+)_(?P<celeb_donor>id\d+)_(?P<take>\d+){_FILE}",
        "Celeb-DF: the first id is the target, the second the donor; the clip is that of the first",
    ),
    (rf"[^/]+/(celeb-real/)?(?P<celeb>id\d+)_(?P<take>\d+){_FILE}", "Celeb-DF clip of one person"),
    (rf"[^/]+/((celeb|youtube)-real/)?(?P<youtube>\d{{5}}){_FILE}", "YouTube clip, an identity of its own"),
    (r"(stargan|starganv2|styleclip)/(real|fake)/(?P<portrait>[^/]+)", "a portrait, perhaps shared by the three"),
    (rf"[^/]+/(real|fake)/(?P<own>[^/]+){_FILE}", "somebody known to this technique only"),
)
"""Pattern over a canonical path → what it means. Identities come from the groups: `ff`, `celeb`, `youtube` are those
of the bona fide sources, `_donor` marks the second one; `portrait` and `own` are known here only. A folder of a
generator's images that carries the number of a bona fide video belongs to its identity, so that it shares its split."""
_RULES: Final = tuple(re.compile(pattern) for pattern, _ in RULES)
MISSED: Final = (
    "nothing in its path says whom it shows (expected a folder called like 000_003, 000, id0_id1_0000, id0_0000 or "
    "00043, or real or fake)"
)
"""Why a file is left out that no rule fits."""


@dataclass(frozen=True, slots=True)
class DF40Settings(ClipSettings):
    """Which part of DF40 is read.

    `root` holds the techniques' folders, at any depth. `techniques` are those that must be there, others are not read;
    none: all that are there, and folders that belong to none are named as `unknown`. `lists` is a JSON list of
    DeepfakeBench, or a folder of them: then only the files that they name are used, and the missing ones counted.
    """

    techniques: tuple[str, ...] | None = None
    lists: Path | None = None

    def __post_init__(self) -> None:
        ClipSettings.__post_init__(self)
        for name in self.techniques or ():
            if find_technique("df40", name) is None:
                raise ValueError(f"unknown technique {name!r}{nearest(name, TECHNIQUES)}")

    @property
    def categories(self) -> set[Category]:
        """What it yields."""
        return set(asked_for("df40", self.techniques).values())


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a path says: who is in the picture, in which video, and which bona fide video it was made from.

    `file` is the part of the path that numbers the frame; `in_order` says that it only counts frames.
    """

    category: Category
    technique: str | None
    identities: tuple[str, ...]
    video: str | None
    bona_fide: str | None
    file: str | None
    in_order: bool = False


def canonical(path: str) -> tuple[str, str] | None:
    """Bring a path of DF40 to one form: its technique, and `<technique>/<rest>` in lower case without extension.

    Left out are what stands before the technique, levels that say nothing, doubled folders and `Fake_from_`. None:
    the path is not of DF40.
    """
    folder, _, name = path.casefold().replace("fake_from_", "").rpartition("/")
    found = _canonical_folder(folder)
    return found and (found[0], f"{found[1]}/{name.rpartition('.')[0] or name}")


@lru_cache(maxsize=1024)
def _canonical_folder(path: str) -> tuple[str, str] | None:
    folders = path.split("/")
    if any(FOREIGN.fullmatch(folder) for folder in folders):
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
        if folder not in LEVELS and not doubled:
            kept.append(folder)
    return technique, "/".join(kept)


def meaning_of(technique: str, canonical_path: str) -> Meaning | None:
    """Say what a canonical path means; None: nothing that is known."""
    match = next((found for rule in _RULES if (found := rule.fullmatch(canonical_path))), None)
    groups = {name: value for name, value in match.groupdict().items() if value} if match else {}
    if not groups:
        return None
    category: Category = TECHNIQUES[technique]
    dataset = next(name for name in ("ff", "celeb", "youtube", "portrait", "own") if name in groups)
    target = groups[dataset]
    if dataset in ("portrait", "own"):
        prefix = "portrait" if dataset == "portrait" else technique
        genuine = "/real/" in canonical_path
        return Meaning(
            "bona_fide" if genuine else category,
            None if genuine else technique,
            (f"{prefix}/{target}",),
            f"{technique}/{'real' if genuine else 'fake'}/{target}" if "file" in groups else None,
            None,
            groups.get("file"),
        )
    donor = groups.get(f"{dataset}_donor")
    identities = (f"{dataset}/{target}", *([f"{dataset}/{donor}"] if donor else []))
    if category == "entire_face_synthesis":
        return Meaning(category, technique, identities, None, None, None)
    take = [groups["take"]] if "take" in groups else []
    clip = "_".join([target, *([donor] if donor else []), *take])
    return Meaning(
        category,
        technique,
        identities,
        f"{technique}/{dataset}/{clip}",
        f"{dataset}/{'_'.join([target, *take])}",
        groups.get("file") or groups.get("running"),
        in_order="running" in groups,
    )


class DF40Source:
    """DF40 on disk. Its identities are those of FaceForensics++ (`ff/…`) and Celeb-DF (`celeb/…`, `youtube/…`)."""

    Settings = DF40Settings
    name = "df40"

    def __init__(self, settings: DF40Settings) -> None:
        self.settings = settings
        self.root = settings.root.expanduser()
        self.bona_fide: Sequence[BonaFideVideos] = ()
        self.report: dict[str, TechniqueReport] = {}
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder")
        self._above = self.root.resolve().name  # a root may be a technique's own folder
        self._techniques = asked_for("df40", settings.techniques)
        self._listed = None if settings.lists is None else self._read_lists(settings.lists.expanduser())

    def items(self) -> Iterator[SourceItem]:
        """Yield the pictures folder by folder; of a folder of frames the chosen ones."""
        self.report = defaultdict(TechniqueReport)
        self._seen: set[tuple[str, str]] = set()
        unlisted: Counter[str] = Counter()
        refused: dict[str, str] = {}
        holding: set[str] = set()  # the folders with a technique somewhere below them
        strange: set[str] = set()  # those with pictures of none
        for below, names in walk(
            self.root, refused.__setitem__, enter=self._asked, follow_links=self.settings.follow_links
        ):
            if canonical(f"{self._above}/{below}/x"):
                holding.update(map(str, PurePosixPath(below).parents))
            else:
                strange.add(below or ".")
            clips: dict[Meaning, dict[int, str]] = defaultdict(dict)
            for name in names:
                file = f"{below}/{name}" if below else name
                meaning = self._understand(file, unlisted)
                if meaning is None:
                    continue
                if is_video(name):
                    yield from self._video(file, meaning)
                elif meaning.video is None:
                    self._report(meaning).use()
                    yield self._item(file, meaning)
                elif (number := frame_number(meaning.file or "")) is None:
                    self._report(meaning).drop("no frame number in its name", file)
                elif number in (clip := clips[replace(meaning, file=None)]):
                    self._report(meaning).drop("the frame number of another file beside it", file)
                else:
                    clip[number] = file
            for meaning, files in clips.items():
                yield from self._frames(meaning, files)
        for file, reason in refused.items():
            if reason == NOT_READ:
                self.report[UNKNOWN].pass_over(reason, file)
                continue
            if not self._asked(file):
                continue
            found = canonical(f"{self._above}/{file}/x")
            report = self.report[found[0] if found else UNKNOWN]
            if found and (is_picture(file) or is_video(file)):
                report.leave_out(reason, file)
            else:
                report.pass_over(reason, file)
        self._name_strange({_topmost(folder, holding) for folder in strange})
        for technique, file in sorted((self._listed or set()) - self._seen):
            self.report[technique].drop("listed, not on disk", file)
        for technique, count in unlisted.items():
            self.report[technique].notes.append(f"{count} files are in no list and were not used")
        require(self.settings.techniques, self.name, self.report, self.root)
        if not any(found.found for found in self.report.values()):
            raise ValueError(f"{self.root}: nothing of DF40 in it (expected folders called {', '.join(TECHNIQUES)})")

    def _name_strange(self, folders: Collection[str]) -> None:
        """Name what belongs to no technique: whole folders, or (`*`) the files in one that has techniques below it."""
        for folder in sorted(folders):
            unused = [folder]
            if folder.endswith("*"):
                below = folder.removesuffix("*").removesuffix("/")
                names, _ = self.settings.entries(below, _tell_nobody)
                unused = [f"{below}/{name}" if below else name for name in names]
            for name in unused:
                self.report[UNKNOWN].pass_over("of no technique of DF40, and not read", name)

    def _asked(self, folder: str) -> bool:
        """Whether a folder may hold what is asked for: it is of no other technique, and of no bona fide dataset."""
        if any(FOREIGN.fullmatch(part.casefold()) for part in (self._above, *folder.split("/"))):
            return False
        found = canonical(f"{self._above}/{folder}/x")
        return found is None or found[0] in self._techniques

    def _understand(self, file: str, unlisted: Counter[str]) -> Meaning | None:
        """Say what a file's path means; none where it is not asked for, or cannot be used, which is counted."""
        technique, path = canonical(f"{self._above}/{file}") or (UNKNOWN, "")
        if technique not in self._techniques and (technique, self.settings.techniques) != (UNKNOWN, None):
            return None
        if technique == UNKNOWN:
            return None
        if self._listed is not None:
            entry = _listed_as(technique, path)
            if entry not in self._listed:
                unlisted[technique] += 1
                return None
            self._seen.add(entry)
        if why := next((why for pattern, why in NOBODY if re.fullmatch(pattern, path)), None):
            self.report[technique].pass_over(why, file)
            return None
        meaning = meaning_of(technique, path)
        if meaning is None:
            self.report[technique].drop(MISSED, file)
        return meaning

    def _report(self, meaning: Meaning) -> TechniqueReport:
        return self.report[meaning.technique or "bona_fide"]

    def _item(self, file: str, meaning: Meaning, frame: int | None = None) -> SourceItem:
        return SourceItem(
            self.root / file,
            self.name,
            file,
            meaning.category,
            meaning.technique,
            meaning.identities,
            meaning.video,
            frame,
            cropped=is_picture(file),
        )

    def _frames_of(self, video: str | None) -> Frames | None:
        return next((frames for source in self.bona_fide if video and (frames := source.frames_of(video))), None)

    def _frames(self, meaning: Meaning, files: dict[int, str]) -> Iterator[SourceItem]:
        """Yield the chosen frames of a folder, with their pairs."""
        bona_fide = self._frames_of(meaning.bona_fide)
        numbers = sorted(files)
        about: dict[int, int] = {}
        if meaning.in_order:
            chosen = self.settings.choice.of(numbers)
            gapless = numbers[-1] - numbers[0] + 1 == len(numbers)
            if bona_fide and gapless and len(bona_fide.chosen) == len(chosen):
                about = dict(zip(chosen, bona_fide.chosen, strict=True))
            else:
                bona_fide = None
        else:
            chosen = self.settings.choice.of(numbers, bona_fide.chosen if bona_fide else ())
        for number in chosen:
            item = self._item(files[number], meaning, number)
            *sought, item = with_pair(item, bona_fide, self.settings.pair_within, about.get(number))
            self._report(meaning).use(paired=item.pair is not None)
            yield from (*sought, item)

    def _video(self, file: str, meaning: Meaning) -> Iterator[SourceItem]:
        clip = self._item(file, meaning)
        bona_fide = self._frames_of(meaning.bona_fide)
        return clip_items(clip, self.settings, self._report(meaning), bona_fide)

    def _read_lists(self, path: Path) -> set[tuple[str, str]]:
        """Return the files of the asked techniques that the lists name, each once, whatever stands before them."""
        listed = {_listed_as(*found) for name in listed_files(path) if (found := canonical(name))}
        if not listed:
            raise ValueError(f"{path}: names no file of DF40")
        return {entry for entry in listed if entry[0] in self._techniques}


def _tell_nobody(file: str, reason: str) -> None:
    """Refuse a file that was refused before."""


def _topmost(folder: str, holding: Collection[str]) -> str:
    """Name the whole that a folder of no technique belongs to: the highest one above it that holds no technique."""
    above = [*map(str, reversed(PurePosixPath(folder).parents)), folder]
    return next((name for name in above if name not in holding), f"{folder}/*".removeprefix("./"))


def _listed_as(technique: str, path: str) -> tuple[str, str]:
    """Bring a file and its entry in a list together: lists put all of e4e's FF++ frames into one folder."""
    return technique, re.sub(r"^e4e/(\d{3}|inversions)/", "e4e/", path)
