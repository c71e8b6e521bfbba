"""Views of photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dfa_instruct.sources.views import write_views


def test_views_are_different_pictures_of_the_same_person(tmp_path: Path) -> None:
    photographs, views = tmp_path / "photographs", tmp_path / "views"
    (photographs / "ann").mkdir(parents=True)
    picture = Image.radial_gradient("L").convert("RGB")
    for name in ("bob.png", "ann/one.png", "ann/two.png"):
        picture.save(photographs / name)
    write_views(photographs, views, 3)
    written = {str(p.relative_to(views)) for p in views.rglob("*.jpg")}
    assert {Path(name).parent.name for name in written} == {"ann", "bob"}
    assert len(written) == 9
    assert len({(views / name).read_bytes() for name in written}) == 9
    with pytest.raises(FileExistsError, match="not empty"):
        write_views(photographs, views, 3)


def test_a_damaged_photograph_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "cut.jpg").write_bytes(b"no picture")
    write_views(tmp_path / "photographs", tmp_path / "views", 3)
    assert (tmp_path / "views" / "cut" / "cut.jpg").read_bytes() == b"no picture"
