"""Celeb-DF (v1, v2): Celeb-real, YouTube-real and Celeb-synthesis, as videos or as frames extracted from them.

    Celeb-real/{id0_0000.mp4, frames/id0_0000/000.png}
    YouTube-real/{00043.mp4, frames/00043/000.png}
    Celeb-synthesis/{id0_id1_0000.mp4, frames/id0_id1_0000/000.png}

`id0_id1_0000` is the clip `Celeb-real/id0_0000` of id0 with the face of id1. YouTube-real does not say who is in its
clips, so each of them counts as one identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dfa_instruct.sources.clips import ClipSettings, ClipSource, Word, find_clips, select_folders
from dfa_instruct.sources.technique_names import DATASET_TECHNIQUES
from dfa_instruct.vocabulary import Category, Label

((TECHNIQUE, CATEGORY),) = DATASET_TECHNIQUES["celebdf"].items()
CELEB: Final = re.compile(r"(?P<target>id\d+)_(?P<take>\d+)")
YOUTUBE: Final = re.compile(r"\d{5}")
SWAP: Final = re.compile(r"(?P<target>id\d+)_(?P<donor>id\d+)_(?P<take>\d+)")
VIDEO_PREFIXES: Final = {"celeb-real": "celeb/", "youtube-real": "youtube/", "celeb-synthesis": f"{TECHNIQUE}/celeb/"}
"""Folder → the beginning of the names of its videos, as in `SourceItem.video`."""
MISNAMED: Final = "not named as in Celeb-DF (id0_0000, 00043, id0_id1_0000)"
LISTED: Final = re.compile(r"(?P<word>\S+)\s+(?P<path>(?P<folder>[^/]+)/(?P<clip>[^/]+)\.mp4)")


@dataclass(frozen=True, slots=True)
class CelebDFSettings(ClipSettings):
    """Which part of Celeb-DF to read.

    Args:
        root: The folder that contains `Celeb-real`.
        forgeries: Read Celeb-synthesis.
        testing_list: The dataset's `List_of_testing_videos.txt`; if given, only its videos are read.
        labels: The meaning of the numbers in this list (`{"1": bona_fide, "0": forged}`), on which projects disagree.
    """

    forgeries: bool = True
    testing_list: Path | None = None
    labels: dict[Word, Label] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ClipSettings.__post_init__(self)
        if self.testing_list and not self.labels:
            raise ValueError("testing_list needs labels that say what its numbers mean, as in {'1': bona_fide, …}")

    @property
    def categories(self) -> set[Category]:
        """The categories of the items."""
        return {"bona_fide", CATEGORY} if self.forgeries else {"bona_fide"}


class CelebDFSource(ClipSource):
    """Celeb-DF on disk, with identities such as `celeb/id0` or `youtube/00043` and videos such as `celeb/id0_0000`."""

    Settings = CelebDFSettings
    name = "celebdf"

    def __init__(self, settings: CelebDFSettings) -> None:
        super().__init__(settings, "Celeb-real, YouTube-real and Celeb-synthesis")
        names = ["Celeb-real", "YouTube-real", *(["Celeb-synthesis"] if settings.forgeries else [])]
        folders = select_folders(settings, self._refuse, "", names)
        if not folders.keys() & {*names[:2]}:
            raise self._missing_root()
        self._read = tuple(name.casefold() for name in names)
        listed = read_testing_list(settings.testing_list, settings.labels) if settings.testing_list else None
        found: set[str] = set()
        for folder in filter(folders.get, names):
            for name, file in find_clips(settings, self._refuse, folders[folder]).items():
                video = VIDEO_PREFIXES[folder.casefold()] + name.casefold()
                found.add(video)
                if listed is not None and video not in listed:
                    self._refuse(file, f"not in {settings.testing_list}")
                else:
                    self._add(video, file)
        for video in listed or ():
            if video not in found and (settings.forgeries or TECHNIQUE not in video):
                self._refuse(video, "listed, not on disk")

    def _add(self, video: str, file: str) -> None:
        """Add a clip, or refuse it if it is not named as in Celeb-DF."""
        dataset, _, name = video.rpartition("/")
        if dataset == "celeb" and (match := CELEB.fullmatch(name)):
            self._bona_fide[video] = self._clip(file, video, "bona_fide", None, f"celeb/{match['target']}")
        elif dataset == "youtube" and YOUTUBE.fullmatch(name):
            self._bona_fide[video] = self._clip(file, video, "bona_fide", None, video)
        elif dataset.startswith(TECHNIQUE) and (swap := SWAP.fullmatch(name)):
            people = f"celeb/{swap['target']}", f"celeb/{swap['donor']}"
            self._forged.append((self._clip(file, video, CATEGORY, TECHNIQUE, *people), f"{people[0]}_{swap['take']}"))
        else:
            self._refuse(file, MISNAMED)

    def _technique_of(self, file: str) -> str | None:
        top = file.partition("/")[0].casefold()
        if top not in (*self._read, "celeb", "youtube"):
            return None
        return TECHNIQUE if top == TECHNIQUE.casefold() else "bona_fide"


def read_testing_list(path: Path, labels: dict[str, Label]) -> list[str]:
    """Read Celeb-DF's list of test videos, with lines such as `1 YouTube-real/00170.mp4`.

    Args:
        path: The list.
        labels: The meaning of the first word of each line.

    Returns:
        The names of the videos, as in `SourceItem.video`, sorted.

    Raises:
        FileNotFoundError: The list does not exist.
        ValueError: A line does not have this form, its first word is not in `labels`, or the label contradicts the
            folder of the video.
    """
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected Celeb-DF's List_of_testing_videos.txt")
    videos = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        match = LISTED.fullmatch(line.strip())
        folder = match["folder"].casefold() if match else ""
        if not match or folder not in VIDEO_PREFIXES:
            raise ValueError(f"{where}: expected '1 YouTube-real/00170.mp4', not {line.strip()!r}")
        label = labels.get(match["word"])
        if label is None:
            raise ValueError(f"{where}: unknown label {match['word']!r}; `labels` has {', '.join(sorted(labels))}")
        if label != ("forged" if folder == "celeb-synthesis" else "bona_fide"):
            raise ValueError(
                f"{where}: {match['path']} is not {label}, but `labels` gives {match['word']} this meaning"
            )
        videos.add(VIDEO_PREFIXES[folder] + match["clip"].casefold())
    return sorted(videos)
