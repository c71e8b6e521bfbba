"""FaceForensics++ and Celeb-DF: their clips, the people in them, and the pairs of the forgeries."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from layouts import write_files, write_video

from dfa_instruct.sources import NOT_READ, BonaFideVideos, Source, SourceItem
from dfa_instruct.sources.registry import open_source, open_sources

YOUTUBE = "original_sequences/youtube/c23"
BOTH = [
    ("faceforensics", f"{YOUTUBE}/frames/000", "manipulated_sequences/Deepfakes/c23/frames/000_003", "001_002"),
    ("celebdf", "Celeb-real/frames/id0_0000", "Celeb-synthesis/frames/id0_id1_0000", "id3_id1_0000"),
]
"""Kind, a bona fide clip, a forged clip, the name of another forged clip."""


def by_path(source: Source) -> dict[str, list[SourceItem]]:
    found: dict[str, list[SourceItem]] = {}
    for item in source.items():
        if not item.pair_only:
            found.setdefault(item.source_path, []).append(item)
    return found


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A complete video of 60 frames, one of 30, one that is cut short, an empty file."""
    folder = tmp_path_factory.mktemp("videos")
    complete = write_video(folder / "complete.mp4", 60)
    cut, empty = folder / "cut.mp4", folder / "empty.mp4"
    cut.write_bytes(complete.read_bytes()[: complete.stat().st_size // 2])
    empty.write_bytes(b"")
    return {"complete": complete, "short": write_video(folder / "short.mp4", 30), "cut": cut, "empty": empty}


def copy_videos(root: Path, videos: dict[str, Path], layout: dict[str, str]) -> None:
    for file, kind in layout.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos[kind], root / file)


def test_faceforensics_as_videos(tmp_path: Path, videos: dict[str, Path]) -> None:
    original, shorter = f"{YOUTUBE}/videos/000.mp4", f"{YOUTUBE}/videos/003.mp4"
    swapped = "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"
    reenacted = "manipulated_sequences/FACE2FACE/C23/Videos/003_000.mp4"
    unpaired = "manipulated_sequences/NeuralTextures/c23/videos/777_000.mp4"
    cut = "manipulated_sequences/FaceSwap/c23/videos/000_003.mp4"
    used = {original: "complete", shorter: "short", swapped: "complete", reenacted: "complete", unpaired: "short"}
    used |= {cut: "cut"}
    misnamed, empty = f"{YOUTUBE}/videos/leftover.mp4", "manipulated_sequences/FaceShifter/c23/videos/000_003.mp4"
    unused = {
        misnamed: "short",
        empty: "empty",
        "original_sequences/youtube/raw/videos/000.mp4": "complete",
        "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4": "complete",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__talking__X.mp4": "short",
    }
    copy_videos(tmp_path, videos, used | unused)
    source = open_source("faceforensics", root=str(tmp_path), frames=6)
    found = by_path(source)
    assert set(found) == set(used)

    assert [item.frame for item in found[original]] == [5, 15, 25, 35, 45, 55]
    assert {(i.category, i.technique, i.identities, i.video, i.pair, i.cropped) for i in found[original]} == {
        ("bona_fide", None, ("ff/000",), "ff/000", None, False)
    }
    assert {(i.category, i.technique, i.identities, i.video) for i in found[swapped]} == {
        ("face_swapping", "Deepfakes", ("ff/000", "ff/003"), "Deepfakes/ff/000_003")
    }
    assert [i.pair for i in found[swapped]] == [i.key for i in found[original]]
    assert {(i.category, i.identities) for i in found[reenacted]} == {("face_reenactment", ("ff/003", "ff/000"))}
    assert [i.pair for i in found[reenacted]] == [i.key for i in found[shorter]]  # the frames of its bona fide video
    assert {i.pair for i in found[unpaired]} == {None}
    assert 0 < len(found[cut]) <= 6 and all(i.pair and i.frame < 30 for i in found[cut] if i.frame is not None)

    assert {name: (r.found, r.resolved, r.paired) for name, r in source.report.items()} == {
        "unknown": (0, 0, 0),
        "bona_fide": (3, 2, 0),
        "Deepfakes": (1, 1, 1),
        "Face2Face": (1, 1, 1),
        "FaceShifter": (1, 0, 0),
        "FaceSwap": (1, 1, 1),
        "NeuralTextures": (1, 1, 0),
    }
    assert source.report["unknown"].ignored_files == [("manipulated_sequences/DeepFakeDetection", NOT_READ)]
    assert "000_003.mp4: cut short" in source.report["FaceSwap"].notes[0]
    assert [file for file, _ in source.report["FaceShifter"].dropped_files] == [empty]
    assert [file for file, _ in source.report["bona_fide"].dropped_files] == [misnamed]


def test_faceforensics_as_frames_and_some_techniques(tmp_path: Path) -> None:
    pictures = [f"{YOUTUBE}/frames/000/{n:03d}.png" for n in (0, 12, 24)]
    forged = [
        f"manipulated_sequences/{m}/c23/frames/000_003/{n:03d}.png" for m in ("Deepfakes", "FaceSwap") for n in (0, 20)
    ]
    write_files(tmp_path, [*pictures, *forged, f"{YOUTUBE}/landmarks/000/000.png"])
    source = open_source("faceforensics", root=tmp_path, techniques=["faceswap"])
    found = by_path(source)
    assert set(found) == {*pictures, *forged[2:]}
    assert [found[path][0].pair for path in forged[2:]] == [f"faceforensics/{pictures[0]}#0", None]
    assert all(item.cropped for (item,) in found.values())
    assert isinstance(source, BonaFideVideos)
    frames = source.frames_of("ff/000")
    assert frames and list(frames.files) == list(frames.sampled) == [0, 12, 24]
    assert source.frames_of("celeb/id0_0000") is None
    assert not by_path(open_source("faceforensics", root=tmp_path, techniques=[])).keys() & set(forged)
    with pytest.raises(ValueError, match="no file of FaceShifter"):
        list(open_source("faceforensics", root=tmp_path, techniques=["faceshifter"]).items())


def test_celebdf_names_the_target_first(tmp_path: Path) -> None:
    forged = ["celeb-synthesis/frames/id0_id1_0000/000.png", "celeb-synthesis/frames/id0_id9_0007/000.png"]
    write_files(tmp_path, [f"Celeb-real/frames/{name}/000.png" for name in ("id0_0000", "id1_0000", "id3")])
    write_files(tmp_path, ["YouTube-real/frames/00043/000.png", *forged])
    source = open_source("celebdf", root=str(tmp_path))
    found = {path: item for path, (item,) in by_path(source).items()}
    bona_fide, swap, original = "bona_fide", "face_swapping", "Celeb-real/frames/id0_0000/000.png"
    assert {path: (i.category, i.identities, i.video, i.pair) for path, i in found.items()} == {
        original: (bona_fide, ("celeb/id0",), "celeb/id0_0000", None),
        "Celeb-real/frames/id1_0000/000.png": (bona_fide, ("celeb/id1",), "celeb/id1_0000", None),
        "YouTube-real/frames/00043/000.png": (bona_fide, ("youtube/00043",), "youtube/00043", None),
        forged[0]: (swap, ("celeb/id0", "celeb/id1"), "Celeb-synthesis/celeb/id0_id1_0000", f"celebdf/{original}#0"),
        forged[1]: (swap, ("celeb/id0", "celeb/id9"), "Celeb-synthesis/celeb/id0_id9_0007", None),
    }
    assert (source.report["Celeb-synthesis"].resolved, source.report["Celeb-synthesis"].paired) == (2, 1)
    assert len(source.report["bona_fide"].dropped_files) == 1
    assert {i.category for i in open_source("celebdf", root=tmp_path, forgeries=False).items()} == {"bona_fide"}


def test_celebdf_as_videos_and_its_test_list(tmp_path: Path, videos: dict[str, Path]) -> None:
    files = ["Celeb-real/id0_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4", "YouTube-real/00170.mp4"]
    copy_videos(tmp_path, videos, dict.fromkeys(files, "short"))
    testing = tmp_path / "List_of_testing_videos.txt"
    testing.write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n0 Celeb-synthesis/id5_id1_0003.mp4\n"
    )
    everything = by_path(open_source("celebdf", root=tmp_path, frames=2))
    assert {path: [i.frame for i in items] for path, items in everything.items()} == {file: [7, 22] for file in files}
    settings = {"root": tmp_path, "testing_list": testing}
    source = open_source("celebdf", **settings, labels={"1": "bona_fide", "0": "forged"})
    assert set(by_path(source)) == set(files[1:])
    assert [reason for _, reason in source.report["Celeb-synthesis"].dropped_files] == ["listed, not on disk"]
    for labels, message in (
        ({}, "needs labels"),
        ({"0": "bona_fide", "1": "forged"}, r"line 1: .*YouTube-real/00170\.mp4"),
        ({"1": "bona_fide"}, "line 2: unknown label '0'"),
    ):
        with pytest.raises(ValueError, match=message):
            open_source("celebdf", **settings, labels=labels)


def test_a_wrong_root_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected original_sequences/youtube/c23"):
        open_source("faceforensics", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="expected Celeb-real"):
        open_source("celebdf", root=tmp_path / "none")
    with pytest.raises(ValueError, match="root"):
        open_source("celebdf")


def test_recipes_with_two_sources_of_the_same_name_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, ["a/1.png", "b/1.png"])
    folders = [{"kind": "folder", "root": tmp_path / name} for name in "ab"]
    with pytest.raises(ValueError, match=r"two sources .*'folder'"):
        open_sources(folders)
    named = open_sources([folders[0], {**folders[1], "name": "b"}])
    assert [item.key for source in named for item in source.items()] == ["folder/1.png", "b/1.png"]
    with pytest.raises(ValueError, match="source 1 has no kind"):
        open_sources([{"root": tmp_path}])


def test_a_bona_fide_frame_that_was_not_sampled_is_listed_for_its_forgery(
    tmp_path: Path, videos: dict[str, Path]
) -> None:
    original, forged = f"{YOUTUBE}/videos/000.mp4", "manipulated_sequences/Deepfakes/c23/frames/000_003"
    copy_videos(tmp_path, videos, {original: "complete"})
    write_files(tmp_path, [f"{forged}/{n:03d}.png" for n in (0, 5, 21, 59, 60, 64)])
    items = list(open_source("faceforensics", root=tmp_path, frames=6).items())
    assert [i.frame for i in items if i.category == "bona_fide" and not i.pair_only] == [5, 15, 25, 35, 45, 55]
    assert [(i.frame, i.path, i.identities, i.video) for i in items if i.pair_only] == [
        (n, tmp_path / original, ("ff/000",), "ff/000") for n in (0, 21, 59)
    ]
    pairs = {i.frame: i.pair for i in items if i.technique}
    assert pairs == {n: f"faceforensics/{original}#{n}" for n in (0, 5, 21, 59)} | {60: None, 64: None}
    within = open_source("faceforensics", root=tmp_path, frames=6, pair_within=2)
    candidates = {i.frame: i.pair_candidates for i in within.items() if i.technique}
    nearby = tuple(f"faceforensics/{original}#{n}" for n in (59, 58))
    assert candidates == dict.fromkeys((0, 5, 21, 59, 64), ()) | {60: nearby}
    assert (within.report["Deepfakes"].found, within.report["Deepfakes"].paired) == (6, 4)


@pytest.mark.parametrize(("kind", "bona_fide", "forged", "linked"), BOTH)
def test_links_and_doubled_frames_are_reported(
    tmp_path: Path, kind: str, bona_fide: str, forged: str, linked: str
) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    pictures = ["0.png", "000.png", "1.png", "x.png", "._1.png"]
    write_files(root, [f"{folder}/{name}" for folder in (bona_fide, forged) for name in pictures])
    write_files(elsewhere, ["7.png", "8.png"])
    (root / bona_fide / "7.png").symlink_to(elsewhere / "7.png")
    (root / forged / "8.png").symlink_to(elsewhere / "none.png")
    linked = str(Path(forged).with_name(linked))
    (root / linked).symlink_to(elsewhere)
    source = open_source(kind, root=root)
    read = by_path(source)
    assert set(read) == {f"{folder}/{name}" for folder in (bona_fide, forged) for name in ("0.png", "1.png")}
    technique = "Deepfakes" if kind == "faceforensics" else "Celeb-synthesis"
    unnumbered, doubled = "no frame number in its name", "the same frame number as another file in its folder"
    outside = "a link that leads out of the folder"
    expected = {f"{folder}/000.png": doubled for folder in (bona_fide, forged)}
    expected |= {f"{folder}/x.png": unnumbered for folder in (bona_fide, forged)}
    expected |= {f"{bona_fide}/7.png": outside, f"{forged}/8.png": outside, linked: outside}
    assert set(source.report) == {"bona_fide", technique}
    dropped = [entry for report in source.report.values() for entry in report.dropped_files]
    assert dict(dropped) == expected and len(dropped) == len(expected)
    followed = open_source(kind, root=root, follow_links=True)
    assert set(by_path(followed)) == {*read, f"{bona_fide}/7.png", f"{linked}/7.png", f"{linked}/8.png"}
    assert (f"{forged}/8.png", "a link to nothing") in followed.report[technique].dropped_files


@pytest.mark.parametrize(("kind", "top"), [("faceforensics", "original_sequences"), ("celebdf", "Celeb-real")])
def test_a_root_of_links_says_what_it_did_not_follow(tmp_path: Path, kind: str, top: str) -> None:
    write_files(tmp_path / "elsewhere", ["youtube/c23/frames/000/000.png", "frames/id0_0000/000.png"])
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / top).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"{top} is a link .*see follow_links"):
        open_source(kind, root=tmp_path / "root")
    assert len(list(open_source(kind, root=tmp_path / "root", follow_links=True).items())) == 1


def test_a_method_in_another_compression_only_gets_a_note(tmp_path: Path) -> None:
    forged = [f"manipulated_sequences/{m}/frames/000_003/000.png" for m in ("Deepfakes/raw", "FaceSwap/c23")]
    write_files(tmp_path, [f"{YOUTUBE}/frames/000/000.png", *forged])
    source = open_source("faceforensics", root=tmp_path)
    assert len(list(source.items())) == 2
    report = source.report["Deepfakes"]
    assert report.found == 0 and "no c23, but raw" in report.notes[0]
    with pytest.raises(ValueError, match=r"no file of Deepfakes.*no c23, but raw"):
        list(open_source("faceforensics", root=tmp_path, techniques=["Deepfakes"]).items())


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
def test_every_file_in_a_layout_is_read_or_reported(kind: str, tmp_path: Path) -> None:
    read, others = LAYOUTS[kind]
    write_files(tmp_path, read)
    for file in others:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"something")
    source = open_source(kind, root=tmp_path)
    assert sorted(item.source_path for item in source.items()) == sorted(read)
    reported = {file for report in source.report.values() for file, _ in report.ignored_files}
    for file in others:
        assert reported & {file, *map(str, Path(file).parents)}, file
    assert not any(report.dropped_files for report in source.report.values())
