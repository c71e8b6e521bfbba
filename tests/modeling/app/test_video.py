"""Uploaded videos: the analysed frames, their order on the page, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from layouts import number_in, write_video
from PIL import Image
from test_upload import hostile

from dfa_instruct.sources.pictures import BadPictureError
from modeling_dfa_gpt.app.case import Case
from modeling_dfa_gpt.app.drawing import video_html
from modeling_dfa_gpt.app.upload import MAX_FILE_BYTES, Upload
from modeling_dfa_gpt.app.video import Frame, most_probable_first, open_video
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.picture import OpenedFace
from modeling_dfa_gpt.timeline import MAX_FRAMES, NO_FACE


def test_frames_are_evenly_spaced(tmp_path: Path) -> None:
    short = list(open_video(write_video(tmp_path / "short.mp4", 50, rate=25)))
    assert [seconds for _, seconds, _ in short] == [0, 0.48, 0.96, 1.44, 1.92]
    long = list(open_video(write_video(tmp_path / "long.mp4", 250 * MAX_FRAMES // 24, rate=5)))
    assert len(long) <= MAX_FRAMES and np.ptp(np.diff([seconds for _, seconds, _ in long])) < 1e-9
    for number, seconds, upload in long:
        assert number_in(np.asarray(upload.picture)) == number == round(seconds * 5)
        assert f"frame {number} of a video" in upload.format and upload.name == "long.mp4"
    assert len({upload.sha256 for *_, upload in long}) == 1


def frame(seconds: float, probability: float | None) -> Frame:
    picture = Image.new("RGB", (64, 64))
    upload = Upload("clip.mp4", "0" * 64, 1, f"frame at {seconds}", (), None, 64, 64, picture)
    case = Case(upload, [OpenedFace(picture, 1, True)], 0)
    reason = NO_FACE if probability is None else ""
    return Frame(case.faces, 0, probability, reason, seconds=seconds, case=case)


def test_most_probable_frames_come_first() -> None:
    frames = [frame(0, 0.2), frame(1, None), frame(2, 0.97), frame(3, 0.6)]
    assert [f.seconds for f in most_probable_first(frames)] == [2, 3, 0]
    drawn = video_html(frames, Calibration(certain=0.9))
    assert "the highest is 97 % at 2.0 s" in drawn and drawn.count('class="forged"') == 2
    assert drawn.count('class="below"') == 1 and "frames without a face: 1" in drawn
    assert drawn.index("97 %</b>") < drawn.index("60 %, uncertain</b>") < drawn.index("20 %, uncertain</b>")
    assert "the highest" not in video_html(frames[1:2], Calibration())


def test_other_files_are_refused_with_one_sentence(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    files = {
        "playlist.mp4": playlist,
        "list.mp4": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "empty.mp4": b"",
        **{name: content for name, (content, _) in hostile().items() if len(content) <= MAX_FILE_BYTES},
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadPictureError) as refused:
            list(open_video(tmp_path / name))
        assert str(refused.value).startswith("The file cannot be read as a video"), name
        assert str(tmp_path) not in str(refused.value)
    (tmp_path / "large.mp4").write_bytes(bytes(MAX_FILE_BYTES + 1))
    with pytest.raises(BadPictureError, match="at most 25 MB"):
        list(open_video(tmp_path / "large.mp4"))
    with pytest.raises(BadPictureError, match="was deleted"):
        list(open_video(tmp_path / "absent.mp4"))


def test_frames_larger_than_4k_are_not_decoded(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "wide.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 4200, 2400, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((2400, 4200, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(BadPictureError, match="4200×2400"):
        list(open_video(tmp_path / "wide.avi"))
