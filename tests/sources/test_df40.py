"""DF40's layouts: the people in every file, and the bona fide frame that it was made from."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from layouts import BONA_FIDE_FILES, DF40_FILES, FF, File, write_files, write_video

from dfa_instruct.sources import Source, SourceItem
from dfa_instruct.sources.df40 import IGNORED_PICTURES, RULES, UNRECOGNISED, canonical_path, parse_path
from dfa_instruct.sources.registry import open_sources


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    write_files(root, BONA_FIDE_FILES)
    write_files(root / "df40", [file.path for file in DF40_FILES])
    return root


def open_df40(tree: Path, **settings: object) -> Source:
    return open_sources(
        [
            {"kind": "df40", "root": str(tree / "df40"), **settings},
            {"kind": "faceforensics", "root": str(tree / "faceforensics")},
            {"kind": "celebdf", "root": str(tree / "celebdf")},
        ]
    )[0]


@pytest.fixture(scope="module")
def imported(tree: Path) -> tuple[Source, dict[str, SourceItem]]:
    source = open_df40(tree)
    items = list(source.items())
    assert len({item.key for item in items}) == len(items)
    return source, {item.source_path: item for item in items}


@pytest.mark.parametrize("file", DF40_FILES, ids=lambda file: file.path)
def test_every_file_is_what_its_path_says(file: File, imported: tuple[Source, dict[str, SourceItem]]) -> None:
    item = imported[1].get(file.path)
    if file.technique is None:
        assert item is None
        return
    assert item is not None
    assert (item.technique or "bona_fide", item.category) == (file.technique, file.category)
    assert item.identities == file.identities
    assert item.pair == file.pair
    assert item.cropped and item.path.is_file()


def test_every_technique_is_counted(imported: tuple[Source, dict[str, SourceItem]]) -> None:
    report = imported[0].report
    resolved = Counter(file.technique for file in DF40_FILES if file.technique)
    paired = Counter(file.technique for file in DF40_FILES if file.pair)
    assert {name: counts.resolved for name, counts in report.items() if counts.resolved} == resolved
    assert {name: counts.paired for name, counts in report.items() if counts.paired} == paired
    assert sum(counts.found + len(counts.ignored_files) for counts in report.values()) == len(DF40_FILES)
    assert all(counts.found == counts.resolved + len(counts.dropped_files) for counts in report.values())
    assert {name: counts.dropped_files for name, counts in report.items() if counts.dropped_files} == {
        "faceswap": [
            ("DF40/faceswap/ff/frames/000_003/thumbnail.png", "no frame number in its name"),
            ("DF40/faceswap/ff/frames/leftover/000.png", UNRECOGNISED),
        ],
    }
    assert {name: [file for file, _ in counts.ignored_files] for name, counts in report.items()} == {
        **{name: [] for name in report},
        "e4e": ["DF40/e4e/cdf/Celeb-real/inversions/00001.jpg"],
        "mobileswap": ["DF40/mobileswap/ff/frames.zip"],
        "facedancer": ["DF40/facedancer/ff/masks/000_003/131.png"],
        "unknown": ["DF40/newest"],
    }


def test_every_rule_has_a_file_that_needs_it() -> None:
    patterns = [pattern for pattern, _ in (*IGNORED_PICTURES, *RULES)]
    paths = [found[1] for file in DF40_FILES if (found := canonical_path(file.path))]
    assert {next((p for p in patterns if re.fullmatch(p, path)), None) for path in paths} >= {*patterns}


def test_frames_of_one_clip_have_the_same_video(imported: tuple[Source, dict[str, SourceItem]]) -> None:
    videos = {item.source_path: item.video for item in imported[1].values()}
    assert videos["DF40_train/simswap/frames/993_989/131.png"] == "simswap/ff/993_989"
    assert videos["DF40_train/simswap/frames/993_989/136.png"] == "simswap/ff/993_989"
    assert videos["df40_TRAIN/BlendFace/Frames/993_989/131.PNG"] == "blendface/ff/993_989"
    assert videos["DF40_train/StyleGAN2/001/seed0188.png"] is None


@pytest.mark.parametrize("inside", ["DF40", "DF40/simswap"])
def test_the_root_may_lie_deeper(tree: Path, inside: str) -> None:
    (source,) = open_sources([{"kind": "df40", "root": tree / "df40" / inside, "techniques": ["SimSwap"]}])
    (item,) = source.items()
    assert (item.technique, item.identities) == ("simswap", ("celeb/id1", "celeb/id0"))
    assert item.pair is None


def test_frames_are_chosen_where_the_bona_fide_ones_are(tmp_path: Path) -> None:
    write_files(tmp_path, [f"{FF}/000/{n:03d}.png" for n in (0, 10, 20, 30)])
    write_files(tmp_path, [f"df40/DF40/simswap/ff/frames/000_003/{n:03d}.png" for n in range(0, 40, 5)])
    write_files(tmp_path, ["celebdf/Celeb-real/frames/id0_0000/000.png"])
    items = list(open_df40(tmp_path, frames=4).items())
    assert [item.frame for item in items] == [0, 10, 20, 30]
    assert [item.pair for item in items] == [f"{FF}/000/{n:03d}.png#{n}" for n in (0, 10, 20, 30)]


def test_videos_of_df40_are_read_and_a_cut_one_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, [f"{FF}/000/{n:03d}.png" for n in range(0, 60, 10)])
    write_files(tmp_path, ["celebdf/Celeb-real/frames/id0_0000/000.png"])
    whole = write_video(tmp_path / "df40" / "DF40" / "fomm" / "ff" / "videos" / "000_003.mp4", 60)
    cut = whole.with_name("003_000.mp4")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.with_name("004_005.mp4").write_bytes(b"")
    source = open_df40(tmp_path, frames=6)
    items = list(source.items())
    assert [item.frame for item in items if item.path == whole] == [0, 10, 20, 30, 40, 50]
    assert [item.pair for item in items if item.path == whole][1] == f"{FF}/000/010.png#10"
    assert len([item for item in items if item.path == cut]) == 6
    report = source.report["fomm"]
    assert (report.found, report.resolved, report.paired) == (3, 2, 1)
    assert "003_000.mp4: cut short" in report.notes[0]
    ((file, reason),) = report.dropped_files
    assert file.endswith("004_005.mp4") and reason.startswith("does not open as a video")


def test_lists_name_the_files_and_count_the_missing_ones(tree: Path, tmp_path: Path) -> None:
    prefix = "deepfakes_detection_datasets"
    fake = {
        "993_989": {
            "label": "simswap_Fake",
            "frames": [
                f"{prefix}/DF40_train/simswap/frames/993_989/131.png",
                f"./{prefix}/DF40_train/simswap/frames/993_989/131.png",
                "/cluster/share/deepfakes/DF40_train/simswap/frames/993_989/999.png",
            ],
        }
    }
    real = {"000": {"label": "simswap_Real", "frames": [f"{prefix}/FaceForensics++/original_sequences/000/000.png"]}}
    simswap = {"simswap_Real": {"train": real}, "simswap_Fake": {"train": fake, "test": fake, "val": {"c23": fake}}}
    (tmp_path / "simswap_ff.json").write_text(json.dumps({"simswap_ff": simswap}))
    others = [
        f"{prefix}/DF40/DiT/cdf/Celeb-real/00043/458.png",
        f"{prefix}/DF40/stargan/fake/1007.jpg",
        f"{prefix}\\DF40\\styleclip\\fake\\22.jpg",
        f"{prefix}/DF40/heygen/fake/frames/anna 1/0004.png",
        f"{prefix}/DF40/e4e/ff/inversions/31649.jpg",
        f"{prefix}/DF40/e4e/ff/inversions/00007.jpg",
    ]
    (tmp_path / "others.json").write_text(json.dumps({"x": {"Fake": {"test": {"a": {"frames": others}}}}}))
    source = open_df40(tree, lists=str(tmp_path))
    items = [item.source_path for item in source.items()]
    assert items == [
        "DF40/DiT/cdf/Fake_from_Celeb-real/00043/458.png",
        "DF40/e4e/ff/989/31649.jpg",
        "DF40/heygen/heygen_new/fake/frames/anna 1/0004.png",
        "DF40/stargan/fake/fake/1007.jpg",
        "DF40/styleclip/styleclip/fake/22.jpg",
        "DF40_train/simswap/frames/993_989/131.png",
    ]
    simswap_report = source.report["simswap"]
    assert (simswap_report.found, simswap_report.resolved) == (2, 1)
    assert simswap_report.dropped_files == [("simswap/993_989/999", "listed, not on disk")]
    assert simswap_report.notes[0].startswith("4 files are in no list")


def test_a_wrong_list_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="names no frames"):
        open_df40(tree, lists=tmp_path / "list.json")
    with pytest.raises(FileNotFoundError, match="no list there"):
        open_df40(tree, lists=tmp_path / "none.json")


def test_links_out_of_the_root_are_not_followed(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "df40"
    shutil.copytree(tree / "df40" / "DF40" / "fsgan", root / "DF40" / "fsgan")
    (root / "DF40" / "simswap").symlink_to(tree / "df40" / "DF40" / "simswap", target_is_directory=True)
    (source,) = open_sources([{"kind": "df40", "root": root}])
    assert [item.technique for item in source.items()] == ["fsgan"]
    assert source.report["simswap"].ignored_files == [("DF40/simswap", "a link that leads out of the folder")]


def test_techniques_that_are_not_selected_are_not_read(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "df40"
    shutil.copytree(tree / "df40" / "DF40" / "simswap", root / "DF40" / "simswap")
    write_files(root, ["DF40/newest/1.png", "DF40/tpsm/unreadable/1.png"])
    (root / "DF40" / "e4s").mkdir()
    (root / "DF40" / "e4s" / "ff").symlink_to(tree, target_is_directory=True)
    (root / "DF40" / "tpsm" / "unreadable").chmod(0)
    (source,) = open_sources([{"kind": "df40", "root": root, "techniques": ["simswap"]}])
    assert {item.technique for item in source.items()} == {"simswap"}
    assert set(source.report) == {"simswap", "unknown"}
    assert {file for file, _ in source.report["unknown"].ignored_files} == {"DF40/e4s", "DF40/tpsm", "DF40/newest"}


def test_a_selected_technique_must_be_there(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file of tpsm"):
        list(open_df40(tree, techniques=["simswap", "TPSM"]).items())
    (tmp_path / "simswap").symlink_to(tree / "df40" / "DF40" / "simswap", target_is_directory=True)
    (source,) = open_sources([{"kind": "df40", "root": tmp_path, "techniques": ["simswap"]}])
    with pytest.raises(ValueError, match=r"no file of simswap, .*; simswap: a link that leads out of the folder"):
        list(source.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"techniques": ["simswpa"]}, "did you mean 'simswap'"),
        ({"frame": 3}, "unknown setting 'frame'; did you mean 'frames'"),
        ({"frames": "many"}, "frames"),
        ({"kind": "df4"}, "unknown source 'df4'; did you mean 'df40'"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_sources([{"kind": "df40", "root": ".", **settings}])


def test_a_folder_without_df40_is_refused(tmp_path: Path) -> None:
    (source,) = open_sources([{"kind": "df40", "root": tmp_path}])
    with pytest.raises(ValueError, match="nothing of DF40 in it"):
        list(source.items())


def test_of_two_frames_with_the_same_number_one_is_used(tmp_path: Path) -> None:
    write_files(tmp_path, [f"DF40/simswap/ff/frames/000_003/{name}" for name in ("7.jpg", "007.png", "8.png")])
    (source,) = open_sources([{"kind": "df40", "root": tmp_path}])
    assert [item.source_path.rpartition("/")[2] for item in source.items()] == ["007.png", "8.png"]
    assert [Path(file).name for file, _ in source.report["simswap"].dropped_files] == ["7.jpg"]


def test_a_path_outside_df40_has_no_technique() -> None:
    assert canonical_path("FaceForensics++/manipulated_sequences/FaceSwap/c23/frames/000_003/000.png") is None
    assert canonical_path("notes/readme.png") is None
    assert parse_path("simswap", "simswap/somewhere/else/000") is None
