"""Videos: the timeline, frames without a face, the verdict, and agreement of command and page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from layouts import write_clip
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.records import Pixels
from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.video import analyze_upload
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.dfa_gpt import DfaGpt
from modeling_dfa_gpt.timeline import NO_FACE, FrameAnalysis, analyze_video, video_verdict

GREY = np.full((320, 320, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def faces(photos: Path) -> list[Pixels]:
    paths = sorted(photos.glob("*.jpg"))[:2]
    return [np.asarray(Image.open(path).convert("RGB").resize((320, 320))) for path in paths]


def test_pictures_and_videos_in_one_call(adapter: Path, faces: list[Pixels], tmp_path: Path) -> None:
    video, picture = write_clip(tmp_path / "clip.mp4", [*faces, GREY], rate=2), tmp_path / "face.png"
    Image.fromarray(faces[0]).save(picture)
    done = CliRunner().invoke(app, ["analyze", str(adapter), str(video), str(picture), "--json", "--force"])
    assert done.exit_code == 0
    of_video, of_picture = map(json.loads, done.stdout.splitlines())
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


def test_page_and_command_agree(adapter: Path, faces: list[Pixels], tmp_path: Path) -> None:
    model, video = DfaGpt.from_pretrained(adapter), write_clip(tmp_path / "clip.mp4", [*faces, GREY], rate=2)
    *_, frames = analyze_upload(model, video)
    timeline = analyze_video(model, video)
    assert [frame.to_dict() for frame in frames] == [frame.to_dict() for frame in timeline.frames]
    assert video_verdict(frames, model.calibration) == timeline.verdict
    for frame in frames[:2]:
        [logit] = model.forged_logits([frame.case.face.image])
        assert frame.probability == pytest.approx(model.calibration.probability(logit), abs=1e-4)


@pytest.mark.usefixtures("landmarker")
def test_video_without_a_face_gets_no_verdict(adapter: Path, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "wall.mp4", [GREY] * 3, rate=2)
    done = CliRunner().invoke(app, ["analyze", str(adapter), str(video)])
    assert done.exit_code == 3
    assert "no verdict (0 of 3 frames were judged; frames without a face: 3)" in done.stdout


def test_errors_name_files_that_are_not_videos(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BadPictureError, match="text"):
        analyze_video(DfaGpt.from_pretrained(adapter), tmp_path / "text.mp4")
    done = CliRunner().invoke(app, ["analyze", str(adapter), str(tmp_path / "text.mp4"), str(tmp_path / "gone.mp4")])
    assert done.exit_code == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 2 and "text.mp4: " in errors[0] and "gone.mp4: " in errors[1]


def test_verdict_uses_the_judged_frames() -> None:
    frames = [FrameAnalysis([], None, p, r) for p, r in ((0.9, ""), (0.5, ""), (None, NO_FACE), (None, "unlike"))]
    plain = video_verdict(frames, Calibration(2.0, 1.0, 50))
    assert (plain.label, plain.probability, plain.calibrated) == ("forged", pytest.approx(0.7), False)
    assert (plain.frames, plain.judged, plain.without_face, plain.refused) == (4, 2, 1, 1)
    counts = "2 of 4 frames were judged; frames without a face: 1; frames whose face the model does not judge: 1"
    assert counts in plain.sentence()
    calibrated = video_verdict(frames, Calibration(2.0, 1.0, 50, video_scale=1.0, video_bias=-2.0, videos=30))
    assert (calibrated.label, calibrated.calibrated) == ("bona_fide", True)
    assert calibrated.probability is not None and calibrated.probability < 0.3
    assert "calibrated on videos" in calibrated.sentence() and "not calibrated" not in calibrated.sentence()
    forced = video_verdict([*frames, FrameAnalysis([], None, 0.9, "unlike")], Calibration(1.0, 0.0, 50, videos=30))
    assert forced.forced and not forced.calibrated and not plain.forced
    assert forced.sentence().startswith("forced: forged") and forced.to_dict()["forced"]
    nothing = video_verdict(frames[2:], Calibration())
    assert (nothing.label, nothing.probability) == (None, None)
