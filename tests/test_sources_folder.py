"""One's own pictures: which faces come out, and what is said of the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfa_instruct.faces import TEMPLATE, anchors
from dfa_instruct.sources.folder import read_folder
from dfa_instruct.sources.media import BadPictureError, Dropped, find_images, read_image


def test_bad_pictures_among_good_ones_are_named_and_skipped(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Mein Ordner ü"
    folder.mkdir()
    good = sorted(photos.glob("*.jpg"))[4:6]
    for photo in good:
        shutil.copy(photo, folder)
    (folder / "corrupt.jpg").write_bytes(good[0].read_bytes()[:400])
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 300), "grey").save(folder / "wall.png")
    two = np.concatenate([np.asarray(Image.open(p).convert("RGB").resize((256, 256))) for p in good], axis=1)
    Image.fromarray(two).save(folder / "two.png")
    (folder / "notes.txt").write_text("no picture")
    dropped = Dropped()
    faces = list(read_folder(folder, 128, dropped))
    assert [face.source_path for face in faces] == [photo.name for photo in good]
    reasons = dict(dropped.pictures)
    assert set(reasons) == {"corrupt.jpg", "empty.png", "dot.png", "wall.png", "two.png"}
    assert reasons["dot.png"].startswith("1×1 pixels") and reasons["wall.png"] == "no face found"
    assert reasons["corrupt.jpg"] == reasons["empty.png"] == "does not decode as an image"
    assert "faces found" in reasons["two.png"]


def test_faces_come_out_aligned(photos: Path) -> None:
    faces = list(read_folder(photos, 128, Dropped()))
    assert len(faces) == len(find_images(photos))
    off = [np.abs(anchors(face.landmarks) / 128 - TEMPLATE).mean() for face in faces if face.landmarks is not None]
    assert np.median(off) < 0.02
    assert {face.image.shape for face in faces} == {(128, 128, 3)}
    assert len({face.identities for face in faces}) == len(faces)


def test_a_subfolder_is_an_identity(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    for photo in sorted(photos.glob("*.jpg"))[:2]:
        shutil.copy(photo, tmp_path / "ada")
    faces = list(read_folder(tmp_path, 128, Dropped()))
    assert {face.identities for face in faces} == {(f"{tmp_path.name}/ada",)}


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (40_000, 10_000)).save(bomb)
    with pytest.raises(BadPictureError, match="decompression bomb"):
        read_image(bomb)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image in it"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_images(tmp_path / "none")
