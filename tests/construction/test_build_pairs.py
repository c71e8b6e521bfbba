"""Pairs of a build: videos of talking people, and frames like DF40's that are forged in the eyes only."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from datasets import load_dataset
from layouts import write_clip
from PIL import Image

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.face.regions import region_masks
from dfa_instruct.records import Landmarks, Pixels
from dfa_instruct.sources.decoding import Video
from dfa_instruct.sources.portraits import drawing
from dfa_instruct.verify.verify import verify

PEOPLE, LENGTH, OPENINGS = 6, 300, 8
FF = "original_sequences/youtube/c23"


def draw_talking(person: int, size: int) -> list[tuple[Pixels, Landmarks]]:
    """Draw a person whose mouth opens wider from picture to picture. Nothing else changes."""
    bones = drawing._person(np.random.default_rng([3, person]))
    shot = replace(drawing._shot(np.random.default_rng([4, person])), yaw=0.05, pitch=0.0, roll=0.0)
    drawn = []
    for opening in np.linspace(0, 0.9, OPENINGS):
        rng = np.random.default_rng([5, person])
        scene, landmarks = drawing._portrait(bones, replace(shot, opening=opening), 2 * size, rng)
        drawn.append(drawing._photograph(scene, landmarks, shot, size, rng))
    return drawn


def forge_eyes(frame: Pixels, landmarks: Landmarks) -> Pixels:
    mask = cv2.GaussianBlur(np.float32(region_masks(landmarks, frame.shape[0])["eyes"]), (0, 0), 1)[..., None]
    other = cv2.GaussianBlur(frame, (0, 0), 4) * np.float32([0.9, 0.7, 0.6])
    return np.rint(mask * other + (1 - mask) * frame).astype(np.uint8)


def drawing_of(frame: int) -> int:
    """Return the number of the drawing that a frame of a video shows. The mouth never stops moving."""
    return round((OPENINGS - 1) * abs(np.sin(0.7 * frame)))


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FaceForensics++ as videos of 300 frames, and DF40's frames at linspace(0, 299, 32), forged in the eyes only."""
    root = tmp_path_factory.mktemp("talking")
    for person in range(PEOPLE):
        drawn = draw_talking(person, 256)
        clip = root / f"ff/{FF}/videos/{person:03d}.mp4"
        write_clip(clip, [drawn[drawing_of(n)][0] for n in range(LENGTH)])
        forged = root / f"df40/DF40/simswap/ff/frames/{person:03d}_{person ^ 1:03d}"
        forged.mkdir(parents=True)
        with Video(clip) as video:
            for number, frame in video.frames(np.linspace(0, LENGTH - 1, 32, dtype=int).tolist()):
                eyes = forge_eyes(frame, drawn[drawing_of(number)][1])
                Image.fromarray(eyes).save(forged / f"{number:03d}.png")
    return write_official_splits(root)


@pytest.mark.usefixtures("landmarker")
def test_pairs_are_of_one_frame_and_their_artifacts_are_in_the_eyes(talking: Path, tmp_path: Path) -> None:
    forged, rows = built(talking, tmp_path)
    pairs = [(row, rows[row["pair_id"]]) for row in forged]
    assert len(pairs) == 32 * PEOPLE
    for row, pair in pairs:
        assert (row["frame"], row["identities"][0], "same_frame") == (pair["frame"], pair["video"], row["pairing"])
        assert np.median(np.asarray(row["image"]) != np.asarray(pair["image"])) == 0
    assert all(row["artifacts"][0]["region"] == "eyes" for row, _ in pairs)  # the strongest
    # The landmarks of a drawn eye may be beside it. Then the edge of the changed region is in the forehead.
    elsewhere = [row for row, _ in pairs if {artifact["region"] for artifact in row["artifacts"]} != {"eyes"}]
    assert len(elsewhere) <= 0.1 * len(pairs)
    assert len({pair["face_id"] for _, pair in pairs}) == 32 * PEOPLE  # 24 of them are also sampled from the videos
    assert len(rows) == (32 + 32 + 32) * PEOPLE - 24


@pytest.mark.usefixtures("landmarker")
def test_pairs_by_content_have_no_geometry_and_false_ones_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "talking"
    numbers = range(0, 40, 10)
    for person in range(PEOPLE):
        drawn = draw_talking(person, 256)

        def write(where: str, number: int, picture: Pixels) -> None:
            (root / where).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / where / f"{number:03d}.png")

        for number in numbers:
            frame, later = drawn[drawing_of(number)], drawn[drawing_of(number + 1)]
            pair = f"{person:03d}_{person ^ 1:03d}"
            write(f"ff/{FF}/frames/{person:03d}", number, frame[0])
            write(f"df40/DF40/fsgan/ff/frames/{pair}", number, forge_eyes(*frame))
            write(f"df40/DF40/simswap/ff/frames/{pair}", number + 1, forge_eyes(*later))
            moved = np.roll(forge_eyes(*frame), 16, axis=1)  # another crop
            write(f"df40/DF40/blendface/ff/frames/{pair}", number, moved)
            write(f"df40/DF40/blendface/ff/frames/{pair}", number + 1, moved)
    forged, rows = built(write_official_splits(root), tmp_path, pair_within=3)
    found = Counter((row["technique"], row["frame"] % 10, row["pairing"], row["pair_id"] is None) for row in forged)
    count = len(numbers) * PEOPLE
    assert found == {
        ("fsgan", 0, "same_frame", False): count,
        ("simswap", 1, "content", False): count,
        ("blendface", 0, "refused", True): count,
        ("blendface", 1, None, True): count,
    }
    by_content = [row for row in forged if row["technique"] == "simswap"]
    assert all(rows[row["pair_id"]]["frame"] == row["frame"] - 1 for row in by_content)
    artifacts = [artifact for row in by_content for artifact in row["artifacts"]]
    assert artifacts and "geometry" not in {artifact["artifact"] for artifact in artifacts}
    findings = verify(str(tmp_path / "dfa-instruct"))
    for promise in ("columns", "pairs", "pixels", "evidence"):
        assert findings[promise].checked and not findings[promise].broken, findings[promise].examples


def write_official_splits(root: Path) -> Path:
    for name, videos in {"train": ["000", "001"], "val": ["002", "003"], "test": ["004", "005"]}.items():
        (root / f"{name}.json").write_text(json.dumps([videos]))
    return root


def built(root: Path, tmp_path: Path, **settings: object) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Build a dataset of DF40 and FaceForensics++. Return the forged rows, and all rows by their face_id."""
    folder = tmp_path / "dfa-instruct"
    sources = [
        {"kind": "df40", "root": str(root / "df40"), **settings},
        {"kind": "faceforensics", "root": str(root / "ff"), "techniques": []},
    ]
    build(
        Recipe(sources=sources, size=128, near_duplicates=-1, official_splits=str(root), output=str(folder)), workers=1
    )
    rows = [row for split in load_dataset("dfa-instruct", data_dir=str(folder)).values() for row in split]
    return [row for row in rows if row["label"] == "forged"], {row["face_id"]: row for row in rows}
