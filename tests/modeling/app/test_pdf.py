"""The report as PDF: all that its HTML says, on pages, whatever is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("reportlab")

from modeling_dfa_gpt.app.case import Case, Turn
from modeling_dfa_gpt.app.case_report import report_html
from modeling_dfa_gpt.app.pdf import report_pdf
from modeling_dfa_gpt.app.upload import open_upload
from modeling_dfa_gpt.calibration import Calibration
from modeling_dfa_gpt.dfa_gpt import Analysis
from modeling_dfa_gpt.picture import OpenedFace

EVIL = (
    '<b onclick="x">&amp; <img src="http://example.org/x.png"/> </para> ]]> \x1b[31m \ud800 <script>alert(1)</script>'
)
ANALYSIS = Analysis(
    faces=1,
    aligned=True,
    label="forged",
    probability=0.93,
    calibrated=True,
    category="face_swapping",
    classification="Face swapping is used.",
    description=f"1. **Eyes**: The shape of the eyes is distorted.\n2. **Mouth and Lips**: {EVIL}",
)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    file = tmp_path / "Müller – портрет 图.png"
    Image.new("RGB", (300, 200), "tan").save(file)
    corners = np.random.default_rng(0).uniform(30, 220, (81, 2)).astype(np.float32)
    face = OpenedFace(Image.new("RGB", (256, 256), "tan"), 1, True, landmarks=corners, in_picture=corners)
    return Case(open_upload(file), [face], 0, ANALYSIS, np.eye(8, dtype=np.float32))


def read(pdf: bytes, tmp_path: Path) -> str:
    """The text of a PDF, as another program reads it."""
    if not shutil.which("pdftotext"):
        pytest.skip("needs pdftotext (apt-get install poppler-utils)")
    (tmp_path / "report.pdf").write_bytes(pdf)
    read = subprocess.run(["pdftotext", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True)
    return " ".join(read.stdout.split())


def test_a_pdf_says_all_that_the_html_says(case: Case, tmp_path: Path) -> None:
    case.turns = [Turn("And the eyes?", "They differ.\nThe left is larger.", "whole")]
    tested = {"images": 240, "people": 71, "balanced_acc": 99.1, "low": 97.6, "high": 100.0, "apcer": 1.25}
    facts = {"model": "a/model", "SHA-256 of model.safetensors": "0123abcd" * 8}
    html = report_html(case, Calibration(0.9, -0.4, 195, tested, 0.8), facts)
    pdf = report_pdf(html)
    text = read(pdf, tmp_path)
    pictures = subprocess.run(["pdfimages", "-list", tmp_path / "report.pdf"], capture_output=True, text=True).stdout
    assert pictures.count("[inline]") == 3  # the picture, the face, the attention
    for told in (case.upload.sha256[:50], "Müller – портрет \\u56fe.png", "93 %", "1.25 %", "a/model", "71 people"):
        assert told in text, told
    for told in ("And the eyes?", "The left is larger.", "It must not decide about a person alone.", "0123abcd" * 5):
        assert told in text, told
    for heading in re.findall(r"<h[123]>(.*?)</h[123]>", html):
        assert re.sub("&#39;", "'", heading) in text


def test_what_is_in_a_text_stays_text(case: Case, tmp_path: Path) -> None:
    case.turns = [Turn(EVIL, EVIL, "stopped")]
    case.upload = replace(case.upload, name=EVIL, exif=((EVIL, EVIL),), c2pa=((EVIL, EVIL),))
    pdf = report_pdf(report_html(case, Calibration(), {EVIL: EVIL}))
    assert b"/URI" not in pdf and b"/JavaScript" not in pdf
    text = read(pdf, tmp_path).replace(" ", "")  # wherever lines end; the end of a page may part one
    assert (
        text.count("<script>alert(1)</script>") >= 8 and text.count('<bonclick="x">&amp;<imgsrc=') >= 7
    )  # the end of a page may part one


def test_a_long_conversation_takes_more_pages(case: Case, tmp_path: Path) -> None:
    case.turns = [
        Turn("Why?", "zebra " * 3000, "whole"),
        Turn("Long?", "x" * 5000, "whole"),
        Turn("End?", "Yes.", "whole"),
    ]
    pdf = report_pdf(report_html(case, Calibration(), {}))
    assert len(re.findall(rb"/Type /Page\b", pdf)) > 5
    assert read(pdf, tmp_path).count("zebra") == 3000


def test_a_case_without_a_face_that_was_found_is_printed(case: Case, tmp_path: Path) -> None:
    bare = replace(case.face, landmarks=None, in_picture=None, faces=None)
    assert "not looked for" in read(
        report_pdf(report_html(replace(case, faces=[bare], attention=None), Calibration(), {})), tmp_path
    )
