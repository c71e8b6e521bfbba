"""The page as a person uses it: when its controls are active, and that its parts show the same case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

from layouts import write_clip
from visitor import Visitor

from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.dfa_gpt import DfaGpt

CONTROLS = ("Your question", "Ask", "Stop", "Ask again", "Clear", "Download report", "Print or save as PDF")
PICTURE = "A picture with a face"
VIDEO = "A video with a face, at most 25 MB"
FRAME = "Which frame? The highest probability of a forgery comes first"


@pytest.fixture
def visitor(address: str) -> Visitor:
    return Visitor(address)


@pytest.fixture(scope="module")
def faces(landmarker: Path) -> list[Image.Image]:
    return [Image.fromarray(face.image).resize((320, 320)) for face in draw_sample(2, 1)]


@pytest.fixture(scope="module")
def clip(faces: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [np.asarray(face) for face in faces]
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mp4", pictures, rate=2)


def active(visitor: Visitor) -> list[str]:
    return [name for name in CONTROLS if visitor[name].get("interactive") is not False]


def test_controls_are_active_only_with_a_picture(visitor: Visitor, portrait: Path) -> None:
    assert active(visitor) == []
    visitor.do(PICTURE, "input", visitor.sent(portrait))
    assert active(visitor) == list(CONTROLS) and 'aria-label="Verdict"' in visitor.text
    visitor.do(PICTURE, "input", None)
    assert active(visitor) == [] and visitor.chat == [] and 'aria-label="Verdict"' not in visitor.text


def test_question_before_a_picture_does_no_harm(visitor: Visitor, portrait: Path) -> None:
    visitor["Your question"]["value"] = "Is it forged?"
    assert visitor.do("Your question", "submit") == ""
    visitor.do(PICTURE, "input", visitor.sent(portrait))
    visitor["Your question"]["value"] = "And the eyes?"
    assert visitor.do("Your question", "submit") == ""
    assert visitor.chat[-2] == "And the eyes?" and visitor.chat[-1]
    line = visitor["Your question"]
    assert line["value"] == "" and line["interactive"]


def test_question_field_stays_enabled_during_an_answer(visitor: Visitor) -> None:
    """A browser removes the focus from a disabled field and does not restore it."""
    line = visitor.number("Your question")
    of_an_answer = [e for e in visitor.events if [line, "submit"] in e["targets"]]
    of_an_answer += [e for e in visitor.events if e["trigger_after"] in {e["id"] for e in of_an_answer}]
    for event in of_an_answer:
        for control in ("Ask", "Stop", "Ask again", "Clear"):
            assert visitor.number(control) not in event["outputs"]
    assert {event["trigger_mode"] for event in of_an_answer} == {"multiple"}  # a second question is not lost


def test_video_replaces_the_picture(visitor: Visitor, portrait: Path, clip: Path) -> None:
    visitor.do(PICTURE, "input", visitor.sent(portrait))
    of_picture = visitor.chat
    assert visitor.do(VIDEO, "upload", visitor.sent(clip)) == ""
    assert 'aria-label="Verdict"' not in visitor.text and visitor.chat == [] and active(visitor) == []
    assert visitor[PICTURE]["value"] is None and "over time" in visitor.text
    assert "Give a picture first" in visitor.do("Download report", "click")
    [seconds, *_] = [value for _, value in visitor[FRAME]["choices"]]
    assert visitor.do(FRAME, "input", seconds) == ""
    assert len(visitor.chat) == len(of_picture) and active(visitor) == list(CONTROLS)
    assert visitor[FRAME]["value"] == seconds
    visitor.do(PICTURE, "input", visitor.sent(portrait))
    assert "over time" not in visitor.text and visitor[FRAME]["choices"] == [] and visitor[VIDEO]["value"] is None


def test_only_the_report_of_a_frame_has_a_timeline(visitor: Visitor, portrait: Path, clip: Path) -> None:
    def report() -> str:
        visitor.do("Download report", "click")
        return next(str(p["value"]) for p in visitor.components.values() if "<!DOCTYPE" in str(p.get("value")))

    visitor.do(VIDEO, "upload", visitor.sent(clip))
    visitor.do(FRAME, "input", visitor[FRAME]["choices"][0][1])
    of_frame = report()
    for text in ('class="timeline"', "of a video", "Probability of a forgery in 2 frames"):
        assert text in of_frame, text
    assert of_frame.count(", the frame of this report") == 1
    assert visitor.do("Print or save as PDF", "click") == ""
    visitor.do(PICTURE, "input", visitor.sent(portrait))
    assert 'class="timeline"' not in report()


def test_face_chosen_during_an_analysis_stays_chosen(
    visitor: Visitor, faces: list[Image.Image], tmp_path: Path
) -> None:
    both = np.concatenate([np.asarray(face) for face in faces], 1)
    Image.fromarray(both).save(tmp_path / "two.png")
    visitor.do(PICTURE, "input", visitor.sent(tmp_path / "two.png"))
    choice = visitor["Which face?"]
    assert [value for _, value in choice["choices"]] == [1, 2]
    visitor.do("Which face?", "input", 1, meanwhile=lambda: choice.update(value=2))
    assert choice["value"] == 2


def test_queue_position_covers_no_button(visitor: Visitor) -> None:
    for event in visitor.events:
        shown_on = event["show_progress_on"] or event["outputs"]
        types = {visitor.components[number]["type"] for number in shown_on}
        assert not (event["queue"] and event["show_progress"] != "hidden" and "button" in types), event["api_name"]


def test_headings_of_a_bona_fide_face_suggest_no_forgery(visitor: Visitor, portrait: Path, model: DfaGpt) -> None:
    label = model.analyze(portrait).label
    visitor.do(PICTURE, "input", visitor.sent(portrait))
    assert label == "bona_fide"  # the tiny base knows drawn faces
    assert "in the model&#39;s words" in visitor.text and "Signs of a forgery" not in visitor.text
