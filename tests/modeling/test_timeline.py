"""Videos by the command: the timeline, its frames without a face, the verdict; the same as on the page."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.records import Pixels
from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.video import verdict
from modeling_dfa_gpt.app.video import watch as watch_on_the_page
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.timeline import NO_FACE, Look, verdict_of, watch

GREY = np.full((320, 320, 3), 90, np.uint8)


def clip(path: Path, pictures: list[Pixels]) -> Path:
    """Write pictures as a video of two frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def faces(photos: Path) -> list[Pixels]:
    paths = sorted(photos.glob("*.jpg"))[:2]
    return [np.asarray(Image.open(path).convert("RGB").resize((320, 320))) for path in paths]


def test_pictures_and_videos_in_one_call(adapter: Path, faces: list[Pixels], tmp_path: Path) -> None:
    video, picture = clip(tmp_path / "clip.mp4", [*faces, GREY]), tmp_path / "face.png"
    Image.fromarray(faces[0]).save(picture)
    told = CliRunner().invoke(app, ["analyze", str(adapter), str(video), str(picture), "--json", "--force"])
    assert told.exit_code == 0
    of_video, of_picture = map(json.loads, told.stdout.splitlines())
    assert of_video["video"] == str(video) and of_picture["image"] == str(picture)
    assert [(f["frame"], f["seconds"], f["faces"], f["reason"]) for f in of_video["frames"]] == [
        (0, 0, 1, ""),
        (1, 0.5, 1, ""),
        (2, 1, 0, NO_FACE),
    ]
    assert (of_video["judged"], of_video["without_face"], of_video["refused"]) == (2, 1, 0)
    judged = [f["probability"] for f in of_video["frames"][:2]]
    assert of_video["probability"] == pytest.approx(np.mean(judged)) and of_video["calibrated"] is False
    assert of_video["label"] == ("forged" if of_video["probability"] >= 0.5 else "bona_fide")

    table = CliRunner().invoke(app, ["analyze", str(adapter), str(video), "--force"]).stdout
    assert "not calibrated on videos" in table and "2 of 3 frames were judged; frames without a face: 1)" in table
    assert f"   1.0 s       2      0  {NO_FACE}" in table.splitlines()


def test_page_and_command_say_the_same(adapter: Path, faces: list[Pixels], tmp_path: Path) -> None:
    model, video = DfaGpt.from_pretrained(adapter), clip(tmp_path / "clip.mp4", [*faces, GREY])
    *_, frames = watch_on_the_page(model, video)
    timeline = watch(model, video)
    assert [f.seconds for f in frames] == [m.seconds for m in timeline.moments]
    assert [f.probability for f in frames] == [m.look.probability for m in timeline.moments]
    assert verdict(frames, model.calibration) == timeline.verdict


@pytest.mark.usefixtures("landmarker")
def test_a_video_without_a_face_gets_no_verdict(adapter: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["analyze", str(adapter), str(clip(tmp_path / "wall.mp4", [GREY] * 3))])
    assert told.exit_code == 3
    assert "no verdict (0 of 3 frames were judged; frames without a face: 3)" in told.stdout


def test_a_file_that_is_no_video_is_named(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BadPictureError, match=r"text.mp4: does not open as a video"):
        watch(DfaGpt.from_pretrained(adapter), tmp_path / "text.mp4")
    told = CliRunner().invoke(app, ["analyze", str(adapter), str(tmp_path / "text.mp4"), str(tmp_path / "gone.mp4")])
    assert told.exit_code == 2
    assert [line.rpartition(": ")[2] for line in told.stderr.splitlines() if line.startswith("error")] == [
        "does not open as a video (it is empty, truncated or not a video)",
        "no such file",
    ]


def test_the_verdict_is_of_the_frames_that_were_judged() -> None:
    looks = [Look([], None, 0.9), Look([], None, 0.5), Look([], None, None, NO_FACE), Look([], None, None, "unlike")]
    plain = verdict_of(looks, Calibration(2.0, 1.0, 50))
    assert (plain.label, plain.probability, plain.calibrated) == ("forged", pytest.approx(0.7), False)
    assert (plain.frames, plain.judged, plain.without_face, plain.refused) == (4, 2, 1, 1)
    counted = "2 of 4 frames were judged; frames without a face: 1; frames whose face the model does not judge: 1"
    assert counted in plain.in_words()
    calibrated = verdict_of(looks, Calibration(2.0, 1.0, 50, video_scale=1.0, video_bias=-2.0, videos=30))
    assert (calibrated.label, calibrated.calibrated) == ("bona_fide", True)
    assert calibrated.probability is not None and calibrated.probability < 0.3
    assert "calibrated on videos" in calibrated.in_words() and "not calibrated" not in calibrated.in_words()
    forced = verdict_of([*looks, Look([], None, 0.9, "unlike")], Calibration(1.0, 0.0, 50, videos=30))
    assert forced.forced and not forced.calibrated and not plain.forced
    assert forced.in_words().startswith("forced: forged") and forced.to_dict()["forced"]
    nothing = verdict_of(looks[2:], Calibration())
    assert (nothing.label, nothing.probability) == (None, None)
