"""Build from DF40 as people have it on disk: the shipped recipe, other files, and paths that are not understood."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from datasets import load_dataset
from layouts import BONA_FIDE_FILES, DF40_FILES, FF, portraits, write_clip, write_files
from typer.testing import CliRunner, Result

from dfa_instruct.cli import app
from dfa_instruct.sources import ARCHIVE, NOT_READ, OTHER
from dfa_instruct.sources.df40 import IGNORED_PICTURES, UNRECOGNISED
from dfa_instruct.sources.walk import is_picture

RECIPE = Path(__file__).parents[2] / "recipes" / "dfa-instruct" / "df40.yaml"


def write_pictures(root: Path, files: list[str]) -> None:
    """Write portraits that all differ, by the person or by a shift."""
    shown = [picture[..., ::-1] for picture in portraits(16, 96)]
    for number, file in enumerate(files):
        if is_picture(file):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / file), np.roll(shown[number % len(shown)], number // len(shown), axis=1))
        else:
            write_files(root, [file])


def run(recipe: Path, output: Path) -> Result:
    return CliRunner().invoke(app, ["build", str(recipe), "--output", str(output), "--workers", "1"])


def dropped(output: Path) -> dict[str, str]:
    """Return what the CSV beside the dataset lists → why it was dropped."""
    with output.with_name(f"{output.name}.dropped.csv").open(encoding="utf-8") as file:
        return {re.sub(r"#\d+$", "", row["what"]): row["reason"] for row in csv.DictReader(file)}


def unaccounted(root: Path, known: set[str]) -> Iterator[str]:
    """Yield the media and the links that are not known, and in no known folder."""
    for path in root.rglob("*"):
        media = path.is_file() and (is_picture(path.name) or path.suffix == ".zip")
        own = path.relative_to(root).as_posix()
        above = [own, *(str(parent) for parent in Path(own).parents), f"{Path(own).parent}/*"]
        if (media or path.is_symlink()) and known.isdisjoint(above):
            yield own


@pytest.mark.usefixtures("landmarker")
def test_the_shipped_recipe_builds_from_every_layout_with_strays_and_links(tmp_path: Path) -> None:
    data, outside = tmp_path / "data", tmp_path / "elsewhere"
    write_pictures(data, [*BONA_FIDE_FILES, *(f"{FF}/{n:03d}/{10 * n:03d}.png" for n in range(100, 116))])
    root = data / "df40"
    more = [
        *(f"DF40/faceswap/ff/frames/{clip}/{n:03d}.png" for clip in ("993_989", "989_993") for n in range(20)),
        *(f"DF40/e4e/ff/100/{n:05d}.jpg" for n in range(20)),
        *(f"DF40/e4e/cdf/Youtube-real/inversions/{n:05d}.jpg" for n in range(40)),
        "DF40/simswap/ff/frames/200_201/002.png",
        "DF40/blendface.zip",
        "DF40/teaser.png",
        "DF40/samples/of/everything/1.png",
        "talk/slides/1.png",
    ]
    write_pictures(root, [*(file.path for file in DF40_FILES), *more])
    clips = (
        "faceforensics/original_sequences/youtube/c23/videos/200.mp4",
        "faceforensics/manipulated_sequences/Deepfakes/c23/videos/200_201.mp4",  # not in the recipe
        "celebdf/Celeb-real/id5_0000.mp4",
        "celebdf/Celeb-synthesis/id5_id6_0000.mp4",
    )
    for clip, face in zip(clips, portraits(20, 96)[16:], strict=True):
        write_clip(data / clip, [np.roll(face, n, axis=0) for n in range(4)])
    (data / "celebdf/List_of_testing_videos.txt").write_text("1 Celeb-real/id5_0000.mp4\n")
    (root / "DF40_train/simswap/landmarks/993_989").mkdir(parents=True)
    np.save(root / "DF40_train/simswap/landmarks/993_989/131.npy", np.zeros((81, 2)))
    write_files(outside, ["ff/frames/993_989/131.png"])
    links = {
        "DF40/hyperreenact": outside,
        "DF40/disk2": outside,
        "DF40/tpsm": tmp_path / "nothing",
        "DF40_train/simswap/frames/latest": root / "DF40_train/simswap/frames/993_989",
        "DF40/faceswap/ff/frames/993_989/900.png": outside / "ff/frames/993_989/131.png",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)

    text = RECIPE.read_text(encoding="utf-8")
    for path, ours in (("DF40", "df40"), ("FaceForensics++", "faceforensics"), ("Celeb-DF-v2", "celebdf")):
        assert f"root: data/{path}" in text
        text = text.replace(f"root: data/{path}", f"root: {data / ours}")
    recipe, output = tmp_path / "df40.yaml", tmp_path / "dfa-instruct"
    recipe.write_text(text, encoding="utf-8")
    done = run(recipe, output)
    assert done.exit_code == 0, done.output

    named = dropped(output)
    rows = [row for split in load_dataset("dfa-instruct", data_dir=str(output)).values() for row in split]
    assert (
        Counter(row["video"] for row in rows)["ff/200"] == 4 == Counter(row["video"] for row in rows)["celeb/id5_0000"]
    )
    assert not {row["technique"] for row in rows} & {"Deepfakes", "Celeb-synthesis"}
    known = {*named, *(f"{row['source']}/{row['source_path']}" for row in rows)}
    for source, folder in (("df40", root), ("faceforensics", data / "faceforensics"), ("celebdf", data / "celebdf")):
        of_source = {what.removeprefix(f"{source}/") for what in known if what.startswith(f"{source}/")}
        assert list(unaccounted(folder, of_source)) == []
    (_, inversion), (_, mask) = IGNORED_PICTURES
    of_the_dataset = (inversion, "fewer than 1000 images", "a near-duplicate of a face in ")
    strays = {what: reason for what, reason in named.items() if not reason.startswith(of_the_dataset)}
    no_technique = "not read, because it belongs to no technique of DF40"
    leads_out = "a link that leads out of the folder"
    assert strays == {
        "df40/DF40/teaser.png": no_technique,
        "df40/DF40/newest": no_technique,
        "df40/DF40/samples": no_technique,
        "df40/talk": no_technique,
        "df40/DF40/hyperreenact": leads_out,
        "df40/DF40/disk2": leads_out,
        "df40/DF40/tpsm": leads_out,
        "df40/DF40/faceswap/ff/frames/993_989/900.png": leads_out,
        "df40/DF40_train/simswap/frames/latest": "a link to a folder",
        "df40/DF40/blendface.zip": ARCHIVE,
        "df40/DF40/mobileswap/ff/frames.zip": ARCHIVE,
        "df40/DF40_train/simswap/landmarks/993_989/131.npy": OTHER,
        "df40/DF40/facedancer/ff/masks/000_003/131.png": mask,
        "df40/DF40/faceswap/ff/frames/leftover/000.png": UNRECOGNISED,
        "df40/DF40/faceswap/ff/frames/000_003/thumbnail.png": "no frame number in its name",
        "faceforensics/manipulated_sequences/Deepfakes": NOT_READ,
        "celebdf/Celeb-synthesis": NOT_READ,
        "celebdf/List_of_testing_videos.txt": OTHER,
    }
    inversions = {what for what, reason in named.items() if reason == inversion}
    assert len(inversions) == 41 and inversions == {what for what in named if "/inversions/" in what}


SMALL = """
sources:
  - {{kind: df40, root: {data}/df40}}
  - {{kind: faceforensics, root: {data}/faceforensics}}
least_resolved: {least}
size: 64
near_duplicates: -1
detect_cropped: false
"""
LOST = [f"DF40/simswap/best of/{n:03d}.png" for n in range(30)]


@pytest.fixture
def misread(tmp_path: Path) -> tuple[Path, Path]:
    """A technique with fewer understood paths than others, and the recipe that fails on it."""
    data, recipe = tmp_path / "data", tmp_path / "recipe.yaml"
    write_pictures(data, [f"{FF}/{n:03d}/000.png" for n in range(16)])
    write_pictures(data / "df40", [f"DF40/simswap/ff/frames/{n:03d}_{n ^ 1:03d}/000.png" for n in range(16)])
    write_pictures(data / "df40", LOST)
    recipe.write_text(SMALL.format(data=data, least=0.9))
    done = run(recipe, tmp_path / "dfa-instruct")
    assert done.exit_code == 2 and done.stderr.count("error:") == 1
    message = done.stderr[done.stderr.index("error:") :]
    assert "df40/simswap: 16 of 46 (34.8%) resolved" in message and "least_resolved is 90%" in message
    assert UNRECOGNISED in message and f"({', '.join(LOST[:5])} and 25 more)" in message and LOST[5] not in message
    assert str(tmp_path / "dfa-instruct.dropped.csv") in message and message.count("\n") == 1
    assert set(dropped(tmp_path / "dfa-instruct")) == {f"df40/{file}" for file in LOST}
    return data, recipe


def test_a_build_with_another_least_resolved_continues_from_the_list(
    misread: tuple[Path, Path], tmp_path: Path
) -> None:
    data, recipe = misread
    gone = data / "df40" / "DF40/simswap/ff/frames/003_002/000.png"
    gone.unlink()  # a new list would not contain it
    recipe.write_text(SMALL.format(data=data, least="{default: 0.9, SimSwap: 0.3}"))
    done = run(recipe, tmp_path / "dfa-instruct")
    assert done.exit_code == 0, done.output
    named = dropped(tmp_path / "dfa-instruct")
    assert named["df40/DF40/simswap/ff/frames/003_002/000.png"] == "no such file"
    assert {f"df40/{file}" for file in LOST} <= set(named)


def test_the_same_recipe_lists_corrected_files_again(misread: tuple[Path, Path], tmp_path: Path) -> None:
    data, recipe = misread
    for file in LOST:
        (data / "df40" / file).unlink()
    done = run(recipe, tmp_path / "dfa-instruct")
    assert done.exit_code == 0, done.output
