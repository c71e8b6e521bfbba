"""A folder of the user's own pictures: the faces that are found, and the files that are dropped."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset
from layouts import portraits, write_files, write_video
from PIL import Image

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe
from dfa_instruct.face.alignment import TEMPLATE, anchors
from dfa_instruct.sources import OTHER
from dfa_instruct.sources.registry import open_source
from dfa_instruct.sources.walk import find_images


def build_folder(root: Path, output: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Build a dataset from a folder; return its rows, and why each other picture was dropped."""
    source = {"kind": "folder", "root": str(root)}
    folder = output / "dfa-instruct"
    recipe = Recipe([source], size=128, several_faces="fail", least_aligned=0, near_duplicates=-1, output=str(folder))
    build(recipe, workers=1)
    rows = [row for split in load_dataset("dfa-instruct", data_dir=str(folder)).values() for row in split]
    dropped = folder.with_name("dfa-instruct.dropped.csv")
    if not dropped.exists():
        return rows, {}
    with dropped.open(encoding="utf-8", newline="") as file:
        return rows, {row["what"].removeprefix("folder/"): row["reason"] for row in csv.DictReader(file)}


@pytest.mark.usefixtures("landmarker")
def test_bad_pictures_among_good_ones_are_named_and_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "Mein Ordner ü"
    folder.mkdir()
    good = [folder / f"{number:02d}.jpg" for number in range(14)]
    for path, portrait in zip(good, portraits(14), strict=True):
        Image.fromarray(portrait).save(path)
    (folder / "corrupt.jpg").write_bytes(good[0].read_bytes()[:400])
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 300), "grey").save(folder / "wall.png")
    two = np.concatenate([np.asarray(Image.open(p).convert("RGB").resize((256, 256))) for p in good[:2]], axis=1)
    Image.fromarray(two).save(folder / "two.png")
    (folder / "notes.txt").write_text("no picture")
    rows, reasons = build_folder(folder, tmp_path / "out")
    assert sorted(row["source_path"] for row in rows) == [photo.name for photo in good]
    assert set(reasons) == {"corrupt.jpg", "empty.png", "dot.png", "wall.png", "two.png", "notes.txt"}
    assert reasons["notes.txt"] == OTHER
    assert reasons["dot.png"].startswith("1×1 pixels") and reasons["wall.png"] == "no face was found"
    assert reasons["corrupt.jpg"] == reasons["empty.png"] == "does not decode as an image"
    assert reasons["two.png"] == "2 faces were found; exactly one is expected"


def test_faces_come_out_aligned(photos: Path, tmp_path: Path) -> None:
    rows, dropped = build_folder(photos, tmp_path)
    assert len(rows) + len(dropped) == len(list(photos.rglob("*"))) and len(dropped) < 4
    places = (TEMPLATE - 0.1) / 0.8  # some of the photographs are cut too close for a larger margin
    off = [np.abs(anchors(np.array(row["landmarks"])) / 128 - places).mean() for row in rows]
    assert np.median(off) < 0.02
    assert {row["image"].size for row in rows} == {(128, 128)}
    assert len({tuple(row["identities"]) for row in rows}) == len(rows)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image in it"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_images(tmp_path / "none")


def test_a_subfolder_is_an_identity(tmp_path: Path) -> None:
    root = tmp_path / "Mein Ordner ü"
    write_files(root, ["ada b/1 a.jpg", "ada b/2.jpg", "ada b.jpg", "zoë.jpg"])
    for category, technique in (("bona_fide", None), ("entire_face_synthesis", root.name)):
        source = open_source("folder", root=root, category=category)
        items = {item.source_path: item for item in source.items()}
        assert {item.technique for item in items.values()} == {technique}
        ada = (f"{root.name}/ada b",)
        assert items["ada b/1 a.jpg"].identities == items["ada b/2.jpg"].identities == ada
        assert items["zoë.jpg"].identities == (f"{root.name}/zoë",)
        assert source.report[technique or "bona_fide"].resolved == 4


def test_folders_with_the_same_identity_prefix_show_the_same_people(tmp_path: Path) -> None:
    write_files(tmp_path, ["real/ada/1.jpg", "forged/ada/1.jpg"])
    roots = (open_source("folder", root=tmp_path / name, identity_prefix="mine") for name in ("real", "forged"))
    assert [item.identities for source in roots for item in source.items()] == [("mine/ada",), ("mine/ada",)]


def test_a_technique_of_another_category_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="technique: SimSwap is face_swapping, not face_editing"):
        open_source("folder", root=tmp_path, category="face_editing", technique="SimSwap")


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder of pictures and videos that a CSV can describe."""
    root = tmp_path / "own media"
    forged = ["anna swapped.png", "anna lips.png", "ben swapped.png", "gan.png"]
    write_files(root, [*forged, "anna.png", "ben/1.png", "unlisted.png", "zu\u0308rich.png"])
    write_video(root / "clip.mp4", 20)
    write_video(root / "clip forged.mp4", 20)
    write_files(tmp_path, ["elsewhere.png"])
    (root / "out.png").symlink_to(tmp_path / "elsewhere.png")
    return root


TABLE = """file,label,category,technique,identity,pair
anna.png,real,,,anna,
anna swapped.png,fake,,SimSwap,anna; ben,anna.png
anna lips.png,fake,face_editing,,,anna.png
ben/1.png,real,,,,
ben swapped.png,fake,,SimSwap,carla,ben/1.png
gan.png,fake,entire_face_synthesis,my own gan,,
zürich.png,real,,,,
clip.mp4,real,,,carla,
clip forged.mp4,fake,face_editing,,carla,clip.mp4
gone.png,real,,,,
out.png,real,,,,
"""
LABELS = {"real": "bona_fide", "fake": "forged"}


def test_a_csv_says_what_the_files_are(media: Path) -> None:
    (media / "labels.csv").write_text(TABLE, encoding="utf-8")
    source = open_source("folder", root=media, csv=str(media / "labels.csv"), labels=LABELS, name="mine", frames=2)
    items = list(source.items())
    found = {(i.source_path, i.frame): (i.category, i.technique, i.identities, i.pair) for i in items}
    bona_fide, fe = "bona_fide", "face_editing"
    assert found == {
        ("anna.png", None): (bona_fide, None, ("mine/anna",), None),
        ("anna swapped.png", None): ("face_swapping", "simswap", ("mine/anna", "mine/ben"), "mine/anna.png"),
        ("anna lips.png", None): (fe, "mine", ("mine/anna",), "mine/anna.png"),
        ("ben/1.png", None): (bona_fide, None, ("mine/ben",), None),
        ("ben swapped.png", None): ("face_swapping", "simswap", ("mine/ben", "mine/carla"), "mine/ben/1.png"),
        ("gan.png", None): ("entire_face_synthesis", "my own gan", ("mine/gan",), None),
        ("zu\u0308rich.png", None): (bona_fide, None, ("mine/zürich",), None),
        ("clip.mp4", 5): (bona_fide, None, ("mine/carla",), None),
        ("clip.mp4", 15): (bona_fide, None, ("mine/carla",), None),
        ("clip forged.mp4", 5): (fe, "mine", ("mine/carla",), "mine/clip.mp4#5"),
        ("clip forged.mp4", 15): (fe, "mine", ("mine/carla",), "mine/clip.mp4#15"),
    }
    assert all(item.path.is_file() for item in items)
    assert {item.pair for item in items} - {None} <= {item.key for item in items}
    report = source.report["bona_fide"]
    assert report.dropped_files == [
        ("gone.png", "listed, not on disk"),
        ("out.png", "a link that leads out of the folder"),
    ]
    assert report.ignored_files == [("unlisted.png", f"not in {media / 'labels.csv'}"), ("labels.csv", OTHER)]
    assert (source.report["mine"].found, source.report["mine"].paired) == (2, 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("anna.png,genuine,,,,", r"labels.csv, row 2: unknown label 'genuine'; known: real \(bona_fide\), fake"),
        ("anna.png,,face_swaping,,,", "row 2: unknown category 'face_swaping'; did you mean 'face_swapping'"),
        ("anna.png,fake,,simswpa,,", "row 2: unknown technique 'simswpa': .* did you mean 'simswap'"),
        ("anna.png,fake,face_editing,simswap,,", "row 2: simswap is face_swapping, not face_editing"),
        ("anna.png,fake,,,,", "row 2: forged, but neither its category nor a known technique"),
        ("anna.png,real,,simswap,,", "row 2: label 'real' means bona_fide, but its category is face_swapping"),
        ("../elsewhere.png,real,,,,", "row 2: '../elsewhere.png' is not a file below"),
        ("anna.png,fake,face_editing,,,ben.png", "has the pair 'ben.png', which is not a bona fide file"),
        ("anna.png,real,,,,anna.png", "row 2: a bona fide file cannot have the pair"),
    ],
)
def test_a_wrong_row_is_refused(media: Path, row: str, message: str) -> None:
    path = media / "labels.csv"
    path.write_text(f"file,label,category,technique,identity,pair\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        open_source("folder", root=media, csv=path, labels=LABELS)


def test_labels_may_be_numbers_as_yaml_reads_them(media: Path) -> None:
    (media / "labels.csv").write_text("file,label,category\nanna.png,0,\ngan.png,1,entire_face_synthesis\n")
    labels = {0: "bona_fide", 1: "forged"}
    source = open_source("folder", root=media, csv=media / "labels.csv", labels=labels)
    assert [item.category for item in source.items()] == ["bona_fide", "entire_face_synthesis"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\nzürich.png\n", "labels.csv: not in UTF-8"),
        ("file,lable\nanna.png,real\n", "unknown column 'lable'; did you mean 'label'"),
        ("file,file\na.png,b.png\n", "labels.csv: .*'file'"),
        ("file\nAnna, aged 5.png\n", "labels.csv, row 2: more cells than columns"),
        ("file\n" + "a" * 200_000 + "\n", "labels.csv, row 2: field larger than field limit"),
        ("file\n", "labels.csv: it has no rows"),
    ],
)
def test_a_malformed_csv_is_refused(media: Path, text: str, message: str) -> None:
    (media / "labels.csv").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        open_source("folder", root=media, csv=media / "labels.csv")


def test_a_missing_csv_is_refused(media: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv: .*expected a CSV with the columns file"):
        open_source("folder", root=media, csv=media / "none.csv")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image and no video"):
        list(open_source("folder", root=tmp_path).items())


@pytest.mark.parametrize("name", ["sample", "df40"])
def test_a_folder_cannot_have_the_name_of_another_source(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"source folder: .*{name}.*choose another"):
        open_source("folder", root=tmp_path, name=name)
