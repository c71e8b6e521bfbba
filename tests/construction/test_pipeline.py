"""Build a small FaceForensics++ tree: its rows, and the list of what was dropped."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from datasets import Dataset, load_dataset
from layouts import portraits, write_video

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.face.detection import not_one_face
from dfa_instruct.vocabulary import Split

VIDEOS = 8


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FaceForensics++ with two frames for each video. The lower half of forged frames is dark and blurred."""
    root = tmp_path_factory.mktemp("data") / "FaceForensics++"
    for number, portrait in enumerate(portraits(VIDEOS)):
        picture = portrait[..., ::-1]
        partner = number ^ 1
        for frame in range(2):
            shown = np.roll(picture, 3 * frame, axis=1)
            forged = shown.copy()
            half = len(shown) // 2
            forged[half:] = cv2.GaussianBlur(shown[half:], (0, 0), 4) * 0.6
            for folder, pixels in (
                (f"original_sequences/youtube/c23/frames/{number:03d}", shown),
                (f"manipulated_sequences/Deepfakes/c23/frames/{number:03d}_{partner:03d}", forged),
            ):
                (root / folder).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / folder / f"{frame:03d}.png"), pixels)
    broken = root / "original_sequences/youtube/c23/frames/000/009.png"
    broken.write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def recipe(tree: Path) -> Recipe:
    source = {"kind": "faceforensics", "root": str(tree), "frames": None}
    shares: dict[Split, float] = {"train": 0.5, "validation": 0.25, "test": 0.25}
    return Recipe(sources=[source], size=96, near_duplicates=-1, detect_cropped=False, shares=shares)


@pytest.fixture(scope="module")
def built(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "dfa-instruct"
    build(replace(recipe, output=str(folder)), workers=1)
    return folder


def rows_of(folder: Path) -> list[dict]:
    splits: dict[str, Dataset] = load_dataset("dfa-instruct", data_dir=str(folder))
    return [row for split in splits.values() for row in split]


@pytest.mark.usefixtures("landmarker")
def test_a_forgery_is_aligned_with_its_bona_fide(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "dfa-instruct"
    build(replace(recipe, detect_cropped=True, output=str(folder)), workers=1)
    rows = rows_of(folder)
    by_id = {row["face_id"]: row for row in rows}
    forged = [row for row in rows if row["label"] == "forged"]
    assert len(forged) == len(rows) - len(forged) == 2 * VIDEOS
    for row in forged:
        pair = by_id[row["pair_id"]]
        assert pair["frame"] == row["frame"] and pair["video"] == row["identities"][0]
        assert pair["split"] == row["split"] and set(pair["identities"]) < set(row["identities"])
        before, after = (np.asarray(r["image"]).astype(int) for r in (pair, row))
        assert before.shape == (96, 96, 3)
        untouched = (before == after).all(axis=(1, 2))
        assert 0.1 < untouched.mean() < 0.9 and untouched[:5].all()  # so both have the same transform
        assert row["artifacts"]


def test_both_orders_of_a_pair_are_in_one_split(built: Path) -> None:
    splits: dict[str, set[str]] = {}
    for row in rows_of(built):
        for identity in row["identities"]:
            splits.setdefault(identity, set()).add(row["split"])
    assert len(splits) == VIDEOS and all(len(s) == 1 for s in splits.values())
    assert all(splits[f"ff/{n:03d}"] == splits[f"ff/{n ^ 1:03d}"] for n in range(VIDEOS))


def test_what_is_dropped_is_named(built: Path) -> None:
    with built.with_name("dfa-instruct.dropped.csv").open() as file:
        dropped = list(csv.DictReader(file))
    assert [(row["technique"], row["reason"]) for row in dropped] == [("bona_fide", "does not decode as an image")]
    assert dropped[0]["what"].endswith("000/009.png#9")


@pytest.mark.usefixtures("landmarker")
def test_files_that_are_no_picture_of_a_source_are_named_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = tmp_path / "faces [ü]"
    faces.mkdir()
    for number, portrait in enumerate(portraits(16)):
        cv2.imwrite(str(faces / f"{number}.png"), portrait[..., ::-1])
    (tmp_path / "elsewhere.jpg").write_bytes(b"")
    (faces / "out.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (faces / "none.mp4").write_bytes(b"")
    write_video(faces / "clip.mp4", 48)
    content = (faces / "clip.mp4").read_bytes()
    (faces / "clip.mp4").write_bytes(content[: len(content) // 2])
    (faces / "empty.png").write_bytes(b"")
    latin = faces / os.fsdecode(b"caf\xe9.jpg")
    try:
        latin.write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    source = {"kind": "folder", "root": str(faces), "frames": 2}
    recipe = Recipe(sources=[source], size=96, output=str(tmp_path / "dfa-instruct"), least_resolved=0.5)
    built = build(recipe, workers=1)
    with (tmp_path / "dfa-instruct.dropped.csv").open(encoding="utf-8") as file:
        named = {row["what"]: row["reason"] for row in csv.DictReader(file)}
    assert named == {
        "folder/out.jpg": "a link that leads out of the folder",
        "folder/none.mp4": "does not open as a video (it is empty, truncated or not a video)",
        "folder/caf\\xe9.jpg": "a name that is not UTF-8",
        "folder/empty.png": "does not decode as an image",
        **dict.fromkeys(("folder/clip.mp4#4", "folder/clip.mp4#12"), not_one_face(0)),
    }
    assert built.dropped.total() == len(named)
    printed = " ".join(capsys.readouterr().err.split())
    assert "clip.mp4: cut short, it has " in printed and "other reasons" in printed


def test_techniques_with_few_images_are_left_out_and_those_with_bad_images_fail(recipe: Recipe, tmp_path: Path) -> None:
    few = replace(recipe, fewest_images=100, output=str(tmp_path / "few"))
    assert build(few, workers=1).dropped["fewer than 100 images"] == 2 * VIDEOS
    with pytest.raises(ValueError, match=r"bona_fide: 16 of 17 \(94.1%\) aligned, .* does not decode"):
        build(replace(recipe, least_aligned=0.99, output=str(tmp_path / "bad")), workers=1)
    # A recipe with another threshold continues from the aligned faces.
    build(replace(recipe, least_aligned=0.9, output=str(tmp_path / "bad")), workers=1)
    assert (tmp_path / "bad" / "README.md").is_file()


def test_a_missing_executor_is_named(small_recipe: Recipe, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("dfa_instruct.construction.executors.find_spec", lambda name: None)
    recipe = replace(small_recipe, output=str(tmp_path / "out"), slurm={"time": "1:00:00", "partition": "cpu"})
    for executor, missing in (("slurm", "sbatch is not installed"), ("ray", "Ray is not installed")):
        with pytest.raises(ValueError, match=f"--executor {executor}: {missing}"):
            build(recipe, executor=executor)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("landmarker")
def test_near_duplicates_and_copies_do_not_cross_splits(tmp_path: Path) -> None:
    for n, portrait in enumerate(portraits(16, 320)):
        picture = portrait[..., ::-1]
        (tmp_path / "faces" / f"person {n}").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "faces" / f"person {n}" / "ä 1.jpg"), picture)
        (tmp_path / "faces" / f"other {n}").mkdir()
        again = cv2.resize(picture, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / "faces" / f"other {n}" / "again.jpg"), again)
    source = {"kind": "folder", "root": str(tmp_path / "faces")}
    recipe = Recipe(sources=[source], size=96, output=str(tmp_path / "dfa-instruct"))
    dropped = build(recipe, workers=1).dropped
    assert sum(n for reason, n in dropped.items() if reason.startswith("a near-duplicate")) >= 4
    rows = rows_of(tmp_path / "dfa-instruct")
    split = {row["identities"][0].rpartition("/")[2]: row["split"] for row in rows}
    crossing = [n for n in range(16) if split.get(f"person {n}", "") != split.get(f"other {n}", "")]
    both = [n for n in crossing if f"person {n}" in split and f"other {n}" in split]
    assert len(both) <= 2  # a copy that was aligned otherwise may be missed
    assert Counter(split.values())["test"] >= 4


@pytest.mark.usefixtures("landmarker")
def test_with_several_faces(tmp_path: Path) -> None:
    pictures = [portrait[..., ::-1] for portrait in portraits(26, 400)]
    (tmp_path / "faces").mkdir()
    for n in range(0, 26, 2):
        smaller = cv2.copyMakeBorder(cv2.resize(pictures[n + 1], (320, 320)), 0, 80, 0, 80, cv2.BORDER_REFLECT)
        cv2.imwrite(str(tmp_path / "faces" / f"{n}.png"), np.hstack([pictures[n], smaller]))
    source = {"kind": "folder", "root": str(tmp_path / "faces")}
    base = Recipe(sources=[source], size=96, near_duplicates=-1, least_aligned=0.0)
    every = build(replace(base, several_faces="all", output=str(tmp_path / "all")), workers=1).statistics
    one = build(replace(base, output=str(tmp_path / "largest")), workers=1).statistics
    assert one.images_of() == 13 < every.images_of()
    assert sum(len(names) for names in every.identities.values()) == every.images_of()
    with pytest.raises(ValueError, match="too few"):
        build(replace(base, several_faces="fail", output=str(tmp_path / "fail")), workers=1)
