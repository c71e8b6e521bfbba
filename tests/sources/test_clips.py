"""FaceForensics++ and Celeb-DF: their clips, whom they show, and what a forged one was made from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from layouts import write_files, write_video

from dfa_instruct.sources import NOT_READ, BonaFideVideos, Source, SourceItem
from dfa_instruct.sources.registry import open_source, open_sources

YOUTUBE = "original_sequences/youtube/c23"


def by_path(source: Source) -> dict[str, list[SourceItem]]:
    found: dict[str, list[SourceItem]] = {}
    for item in source.items():
        if not item.pair_only:
            found.setdefault(item.source_path, []).append(item)
    return found


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole video of 60 frames, one of 30, one that is cut short."""
    folder = tmp_path_factory.mktemp("videos")
    whole = write_video(folder / "whole.mp4", 60)
    cut = folder / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return {"whole": whole, "short": write_video(folder / "short.mp4", 30), "cut": cut}


def test_faceforensics_as_videos(tmp_path: Path, videos: dict[str, Path]) -> None:
    layout = {
        f"{YOUTUBE}/videos/000.mp4": "whole",
        f"{YOUTUBE}/videos/003.mp4": "short",
        f"{YOUTUBE}/videos/leftover.mp4": "short",
        "original_sequences/youtube/raw/videos/000.mp4": "whole",
        "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4": "whole",
        "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4": "whole",
        "manipulated_sequences/FACE2FACE/C23/Videos/003_000.mp4": "whole",
        "manipulated_sequences/NeuralTextures/c23/videos/777_000.mp4": "short",
        "manipulated_sequences/FaceSwap/c23/videos/000_003.mp4": "cut",
        "manipulated_sequences/FaceShifter/c23/videos/000_003.mp4": "empty",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__talking__X.mp4": "short",
    }
    for file, kind in layout.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        if kind == "empty":
            (tmp_path / file).write_bytes(b"")
        else:
            shutil.copy(videos[kind], tmp_path / file)
    source = open_source("faceforensics", root=str(tmp_path), frames=6)
    found = by_path(source)
    assert set(found) == set(list(layout)[:2]) | set(list(layout)[4:5]) | set(list(layout)[6:9])

    original = found[f"{YOUTUBE}/videos/000.mp4"]
    assert [item.frame for item in original] == [5, 15, 25, 35, 45, 55]
    assert {(i.category, i.technique, i.identities, i.video, i.pair, i.cropped) for i in original} == {
        ("bona_fide", None, ("ff/000",), "ff/000", None, False)
    }
    swapped = found["manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"]
    assert {(i.category, i.technique, i.identities, i.video) for i in swapped} == {
        ("face_swapping", "Deepfakes", ("ff/000", "ff/003"), "Deepfakes/ff/000_003")
    }
    assert [i.pair for i in swapped] == [i.key for i in original]
    reenacted = found["manipulated_sequences/FACE2FACE/C23/Videos/003_000.mp4"]
    assert {(i.category, i.identities) for i in reenacted} == {("face_reenactment", ("ff/003", "ff/000"))}
    shorter = found[f"{YOUTUBE}/videos/003.mp4"]
    assert [i.pair for i in reenacted] == [i.key for i in shorter]  # the frames that its bona fide video has
    assert {i.pair for i in found["manipulated_sequences/NeuralTextures/c23/videos/777_000.mp4"]} == {None}
    cut = found["manipulated_sequences/FaceSwap/c23/videos/000_003.mp4"]
    assert 0 < len(cut) <= 6 and all(i.pair and i.frame < 30 for i in cut if i.frame is not None)

    counts = {name: (r.found, r.resolved, r.paired) for name, r in source.report.items()}
    assert source.report["unknown"].ignored_files == [("manipulated_sequences/DeepFakeDetection", NOT_READ)]
    assert counts == {
        "unknown": (0, 0, 0),
        "bona_fide": (3, 2, 0),
        "Deepfakes": (1, 1, 1),
        "Face2Face": (1, 1, 1),
        "FaceShifter": (1, 0, 0),
        "FaceSwap": (1, 1, 1),
        "NeuralTextures": (1, 1, 0),
    }
    assert "000_003.mp4: cut short" in source.report["FaceSwap"].notes[0]
    ((file, reason),) = source.report["FaceShifter"].dropped_files
    assert file.endswith("000_003.mp4") and reason.startswith("does not open as a video")
    ((file, reason),) = source.report["bona_fide"].dropped_files
    assert file.endswith("leftover.mp4") and reason.startswith("not called as in FaceForensics++")


def test_faceforensics_as_frames_and_some_techniques(tmp_path: Path) -> None:
    pictures = [f"{YOUTUBE}/frames/000/{n:03d}.png" for n in (0, 12, 24)]
    forged = [
        f"manipulated_sequences/{m}/c23/frames/000_003/{n:03d}.png" for m in ("Deepfakes", "FaceSwap") for n in (0, 20)
    ]
    write_files(tmp_path, [*pictures, *forged, f"{YOUTUBE}/landmarks/000/000.png"])
    source = open_source("faceforensics", root=tmp_path, techniques=["faceswap"])
    found = by_path(source)
    assert set(found) == {*pictures, *forged[2:]}
    assert [found[path][0].pair for path in forged[2:]] == [
        f"faceforensics/{pictures[0]}#0",
        None,  # no frame has its number
    ]
    assert all(item.cropped for (item,) in found.values())
    assert isinstance(source, BonaFideVideos)
    frames = source.frames_of("ff/000")
    assert frames and list(frames.files) == list(frames.chosen) == [0, 12, 24]
    assert source.frames_of("celeb/id0_0000") is None
    assert not by_path(open_source("faceforensics", root=tmp_path, techniques=[])).keys() & set(forged)
    with pytest.raises(ValueError, match="no file of FaceShifter"):
        list(open_source("faceforensics", root=tmp_path, techniques=["faceshifter"]).items())


def test_celebdf_names_the_target_first(tmp_path: Path) -> None:
    write_files(tmp_path, ["Celeb-real/frames/id0_0000/000.png", "Celeb-real/frames/id1_0000/000.png"])
    write_files(tmp_path, ["YouTube-real/frames/00043/000.png", "celeb-synthesis/frames/id0_id1_0000/000.png"])
    write_files(tmp_path, ["celeb-synthesis/frames/id0_id9_0007/000.png", "Celeb-real/frames/id3/000.png"])
    source = open_source("celebdf", root=str(tmp_path))
    found = {path: item for path, (item,) in by_path(source).items()}
    told = {path: (i.category, i.identities, i.video, i.pair) for path, i in found.items()}
    bona_fide, swap = "bona_fide", "face_swapping"
    assert told == {
        "Celeb-real/frames/id0_0000/000.png": (bona_fide, ("celeb/id0",), "celeb/id0_0000", None),
        "Celeb-real/frames/id1_0000/000.png": (bona_fide, ("celeb/id1",), "celeb/id1_0000", None),
        "YouTube-real/frames/00043/000.png": (bona_fide, ("youtube/00043",), "youtube/00043", None),
        "celeb-synthesis/frames/id0_id1_0000/000.png": (
            swap,
            ("celeb/id0", "celeb/id1"),
            "Celeb-synthesis/celeb/id0_id1_0000",
            "celebdf/Celeb-real/frames/id0_0000/000.png#0",
        ),
        "celeb-synthesis/frames/id0_id9_0007/000.png": (
            swap,
            ("celeb/id0", "celeb/id9"),
            "Celeb-synthesis/celeb/id0_id9_0007",
            None,
        ),
    }
    assert (source.report["Celeb-synthesis"].resolved, source.report["Celeb-synthesis"].paired) == (2, 1)
    assert source.report["bona_fide"].dropped.total() == 1
    assert {i.category for i in open_source("celebdf", root=tmp_path, forgeries=False).items()} == {"bona_fide"}


def test_celebdf_as_videos_and_its_test_list(tmp_path: Path, videos: dict[str, Path]) -> None:
    for file in ("Celeb-real/id0_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4", "YouTube-real/00170.mp4"):
        (tmp_path / file).parent.mkdir(parents=True)
        shutil.copy(videos["short"], tmp_path / file)
    told = tmp_path / "List_of_testing_videos.txt"
    told.write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n0 Celeb-synthesis/id5_id1_0003.mp4\n"
    )
    everything = by_path(open_source("celebdf", root=tmp_path, frames=2))
    assert {path: [i.frame for i in items] for path, items in everything.items()} == {
        "Celeb-real/id0_0000.mp4": [7, 22],
        "Celeb-synthesis/id0_id1_0000.mp4": [7, 22],
        "YouTube-real/00170.mp4": [7, 22],
    }
    settings = {"root": tmp_path, "testing_list": told}
    source = open_source("celebdf", **settings, labels={"1": "bona_fide", "0": "forged"})
    assert set(by_path(source)) == {"YouTube-real/00170.mp4", "Celeb-synthesis/id0_id1_0000.mp4"}
    assert dict(source.report["Celeb-synthesis"].dropped) == {"listed, not on disk": 1}
    with pytest.raises(ValueError, match="needs labels"):
        open_source("celebdf", **settings)
    with pytest.raises(ValueError, match=r"line 1: labels says that 1 is forged, not YouTube-real/00170\.mp4"):
        open_source("celebdf", **settings, labels={"0": "bona_fide", "1": "forged"})
    with pytest.raises(ValueError, match="line 2: unknown label '0'"):
        open_source("celebdf", **settings, labels={"1": "bona_fide"})


def test_a_wrong_root_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected original_sequences/youtube/c23"):
        open_source("faceforensics", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="expected Celeb-real"):
        open_source("celebdf", root=tmp_path / "none")
    with pytest.raises(ValueError, match="root"):
        open_source("celebdf")


def test_recipes_with_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, ["a/1.png", "b/1.png"])
    folders = [{"kind": "folder", "root": tmp_path / name} for name in "ab"]
    with pytest.raises(ValueError, match="two sources are called 'folder'"):
        open_sources(folders)
    named = open_sources([folders[0], {**folders[1], "name": "b"}])
    assert [item.key for source in named for item in source.items()] == ["folder/1.png", "b/1.png"]
    with pytest.raises(ValueError, match="source 1 has no kind"):
        open_sources([{"root": tmp_path}])


def test_a_frame_that_no_sampling_took_is_sought_for_its_forgery(tmp_path: Path, videos: dict[str, Path]) -> None:
    original, forged = f"{YOUTUBE}/videos/000.mp4", "manipulated_sequences/Deepfakes/c23/frames/000_003"
    (tmp_path / original).parent.mkdir(parents=True)
    shutil.copy(videos["whole"], tmp_path / original)
    write_files(tmp_path, [f"{forged}/{n:03d}.png" for n in (0, 5, 21, 59, 60, 64)])
    items = list(open_source("faceforensics", root=tmp_path, frames=6).items())
    assert [i.frame for i in items if i.category == "bona_fide" and not i.pair_only] == [5, 15, 25, 35, 45, 55]
    sought = [i for i in items if i.pair_only]
    assert [(i.frame, i.path, i.identities, i.video) for i in sought] == [
        (n, tmp_path / original, ("ff/000",), "ff/000") for n in (0, 21, 59)
    ]
    pairs = {i.frame: i.pair for i in items if i.technique}
    assert pairs == {n: f"faceforensics/{original}#{n}" for n in (0, 5, 21, 59)} | {60: None, 64: None}
    within = open_source("faceforensics", root=tmp_path, frames=6, pair_within=2)
    among = {i.frame: i.pair_candidates for i in within.items() if i.technique}
    assert among == dict.fromkeys((0, 5, 21, 59, 64), ()) | {
        60: tuple(f"faceforensics/{original}#{n}" for n in (59, 58))
    }
    assert (within.report["Deepfakes"].found, within.report["Deepfakes"].paired) == (6, 4)


@pytest.mark.parametrize(
    ("kind", "bona_fide", "forged"),
    [
        ("faceforensics", f"{YOUTUBE}/frames/000", "manipulated_sequences/Deepfakes/c23/frames/000_003"),
        ("celebdf", "Celeb-real/frames/id0_0000", "Celeb-synthesis/frames/id0_id1_0000"),
    ],
)
def test_links_and_doubled_frames_are_named(tmp_path: Path, kind: str, bona_fide: str, forged: str) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    pictures = ["0.png", "000.png", "1.png", "x.png", "._1.png"]
    write_files(root, [f"{folder}/{name}" for folder in (bona_fide, forged) for name in pictures])
    write_files(elsewhere, ["7.png", "8.png"])
    (root / bona_fide / "7.png").symlink_to(elsewhere / "7.png")
    (root / forged / "8.png").symlink_to(elsewhere / "none.png")
    (root / forged).with_name("001_002" if kind == "faceforensics" else "id3_id1_0000").symlink_to(elsewhere)
    source = open_source(kind, root=root)
    read = by_path(source)
    assert set(read) == {f"{folder}/{name}" for folder in (bona_fide, forged) for name in ("0.png", "1.png")}
    technique = "Deepfakes" if kind == "faceforensics" else "Celeb-synthesis"
    unnumbered, doubled = "no frame number in its name", "the frame number of another file beside it"
    outside = "a link that leads out of the folder"
    left_out = {name: sorted(report.dropped_files) for name, report in source.report.items()}
    linked = str(Path(forged).with_name("001_002" if kind == "faceforensics" else "id3_id1_0000"))
    assert left_out == {
        "bona_fide": [
            (f"{bona_fide}/000.png", doubled),
            (f"{bona_fide}/7.png", outside),
            (f"{bona_fide}/x.png", unnumbered),
        ],
        technique: sorted(
            [
                (f"{forged}/000.png", doubled),
                (f"{forged}/8.png", outside),
                (f"{forged}/x.png", unnumbered),
                (linked, outside),
            ]
        ),
    }
    followed = open_source(kind, root=root, follow_links=True)
    assert set(by_path(followed)) == {*read, f"{bona_fide}/7.png", f"{linked}/7.png", f"{linked}/8.png"}
    assert (f"{forged}/8.png", "a link to nothing") in followed.report[technique].dropped_files


@pytest.mark.parametrize(("kind", "top"), [("faceforensics", "original_sequences"), ("celebdf", "Celeb-real")])
def test_a_root_of_links_says_what_it_did_not_follow(tmp_path: Path, kind: str, top: str) -> None:
    write_files(tmp_path / "elsewhere", ["youtube/c23/frames/000/000.png", "frames/id0_0000/000.png"])
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / top).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"{top} is a link that leads out of the folder, see follow_links"):
        open_source(kind, root=tmp_path / "root")
    assert len(list(open_source(kind, root=tmp_path / "root", follow_links=True).items())) == 1


def test_a_method_in_another_compression_gets_its_note_only(tmp_path: Path) -> None:
    write_files(tmp_path, [f"{YOUTUBE}/frames/000/000.png"])
    write_files(
        tmp_path, [f"manipulated_sequences/{m}/frames/000_003/000.png" for m in ("Deepfakes/raw", "FaceSwap/c23")]
    )
    source = open_source("faceforensics", root=tmp_path)
    assert len(list(source.items())) == 2
    report = source.report["Deepfakes"]
    assert (report.found, report.notes) == (0, ["manipulated_sequences/Deepfakes: no c23 in it, but raw; not read"])
    asked = open_source("faceforensics", root=tmp_path, techniques=["Deepfakes"])
    with pytest.raises(ValueError, match=r"no file of Deepfakes, which the recipe asks for \(.*no c23 in it, but raw"):
        list(asked.items())


LAYOUTS = {
    "faceforensics": (
        [f"{YOUTUBE}/frames/000/000.png", "manipulated_sequences/Deepfakes/c23/frames/000_003/000.png"],
        [
            *("readme.txt", "csvs/train.csv", "original_sequences/actors/c23/videos/01.mp4", "a.png", ".hidden.png"),
            *(f"{YOUTUBE}/{name}" for name in ("loose.png", "frames.zip", "landmarks/000/000.npy", "masks/000.png")),
            *(f"{YOUTUBE}/frames/000/{name}" for name in ("000.npy", "more/1.png", "clip.mp4")),
            "original_sequences/youtube/c40/videos/000.mp4",
            *(f"manipulated_sequences/{name}" for name in ("notes.md", "Unheard/c23/videos/000_003.mp4")),
            *(
                f"manipulated_sequences/Deepfakes/{name}"
                for name in ("raw/videos/1.mp4", "c23/loose.jpg", "masks/1.png")
            ),
        ],
    ),
    "celebdf": (
        ["Celeb-real/frames/id0_0000/000.png", "Celeb-synthesis/frames/id0_id1_0000/000.png"],
        [
            *("List_of_testing_videos.txt", "Unheard/1.mp4", "a.png", ".hidden.png"),
            *(f"Celeb-real/{name}" for name in ("loose.png", "frames/id0_0000/x.npy", "masks/1.png", "all.zip")),
            *(f"Celeb-synthesis/{name}" for name in ("loose.png", "frames/id0_id1_0000/x/1.png", "notes.txt")),
        ],
    ),
    "df40": (
        ["DF40/simswap/ff/frames/000_003/000.png"],
        [
            *("readme.txt", "DF40/unheard/1.png", "faceforensics/000.png", "loose.png", ".hidden.png"),
            *(
                f"DF40/simswap/{name}"
                for name in ("ff/frames/000_003/0.npy", "notes.txt", "ff.zip", "ff/masks/1/1.png")
            ),
        ],
    ),
}
"""Kind → files that are read, files that are not."""


@pytest.mark.parametrize("kind", LAYOUTS)
def test_whatever_lies_in_a_layout_is_read_or_named(kind: str, tmp_path: Path) -> None:
    read, others = LAYOUTS[kind]
    write_files(tmp_path, read)
    for file in others:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"something")
    source = open_source(kind, root=tmp_path)
    assert sorted(item.source_path for item in source.items()) == sorted(read)
    named = {file for report in source.report.values() for file, _ in (*report.dropped_files, *report.ignored_files)}
    for file in others:
        assert named & {file, *map(str, Path(file).parents)}, file
    assert not {reason for report in source.report.values() for _, reason in report.dropped_files}
