"""Render a case as HTML: the verdict, the face with the named regions, and the map of the forgery.

Jinja escapes all text. Pictures are embedded as data URIs, so the page fetches and stores nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.bench.localisation import enlarged
from dfa_instruct.face.regions import region_outlines
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.vocabulary import CATEGORIES, REGIONS
from modeling_dfa_gpt.app.case import DISPLAY_SIDE, Case
from modeling_dfa_gpt.app.video import Frame, most_probable_first
from modeling_dfa_gpt.calibration import MAX_ERROR_RATE, Calibration
from modeling_dfa_gpt.forgery_map import Changed
from modeling_dfa_gpt.timeline import video_verdict

MAX_FRAMES_SHOWN = 6
"""Number of frames of a video whose faces are shown."""
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals.update(categories=CATEGORIES, explanations=libraries().df_c.explanations, region_names=REGIONS)


def case_html(case: Case, calibration: Calibration) -> tuple[str, str]:
    """Render the verdict (or the notice) of a case, and its face with the description."""
    values = template_values(case, calibration)
    verdict, face = (TEMPLATES.get_template(f"{part}.html.jinja").render(**values) for part in ("verdict", "face"))
    return verdict, face


def template_values(case: Case, calibration: Calibration, in_report: bool = False) -> dict[str, Any]:
    """Return the values that the templates need. In a report nothing is collapsed."""
    face = case.faces[case.chosen] if case.chosen is not None else None
    return {
        "in_report": in_report,
        "case": case,
        "analysis": case.analysis,
        "calibration": calibration,
        "tolerated": MAX_ERROR_RATE,
        "picture_uri": data_uri(case.upload.picture) if in_report else "",
        "face": face,
        "face_uri": data_uri(face.image) if face else "",
        "shapes": {} if face is None or face.landmarks is None else region_outlines(face.landmarks, face.image.width),
        "changed_uri": data_uri(changed_overlay(face.image, case.analysis.changed))
        if face and case.analysis and case.analysis.changed
        else "",
        "attention_uri": data_uri(attention_overlay(face.image, case.attention))
        if face and case.attention is not None
        else "",
    }


def notice_html(sentence: str) -> str:
    """Render a sentence that says why there is no case. An empty sentence gives an empty string."""
    return f'<div class="dfa"><p class="notice" role="alert">{escape(sentence)}</p></div>' if sentence else ""


def faces_html(case: Case) -> str:
    """Render the picture with its faces numbered from left to right."""
    boxes = [
        (*face.in_picture.min(0).tolist(), *np.ptp(face.in_picture, 0).tolist())
        for face in case.faces
        if face.in_picture is not None
    ]
    return TEMPLATES.get_template("faces.html.jinja").render(
        picture_uri=data_uri(case.upload.picture), width=case.upload.width, height=case.upload.height, boxes=boxes
    )


def video_html(frames: Sequence[Frame], calibration: Calibration) -> str:
    """Render the probability of a forgery over time, and the frames with the highest probability."""
    ranked = most_probable_first(frames)[:MAX_FRAMES_SHOWN]
    return TEMPLATES.get_template("video.html.jinja").render(
        frames=frames,
        length=frames[-1].seconds,
        calibration=calibration,
        ranked=[(frame, data_uri(frame.case.face.image)) for frame in ranked],
        verdict=video_verdict(frames, calibration).sentence(),
    )


def comparison_html(suspect: Case, reference: Case, calibration: Calibration) -> str:
    """Render two cases side by side, and list which regions the model names in one of them or in both."""
    sides = []
    for name, case in (("Suspect", suspect), ("Reference", reference)):
        verdict, face = case_html(case, calibration)
        sides.append((name, Markup(verdict), Markup(face), {r for s in case.statements for r in s.regions}))
    return TEMPLATES.get_template("comparison.html.jinja").render(sides=sides, complete=bool(reference.statements))


def data_uri(image: Image.Image) -> str:
    """Encode a picture as a data URI, after reducing it to `DISPLAY_SIDE`."""
    image = image.copy()
    image.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def changed_overlay(face: Image.Image, changed: Changed) -> Image.Image:
    """Tint a face in red where it appears to have been changed, and outline the area above the threshold."""
    pixels = np.asarray(face, np.float32)
    made = enlarged(np.asarray(changed.probabilities, np.float32), face.width)[..., None]
    tinted = np.rint(pixels + 0.6 * made * (np.array([255.0, 0.0, 40.0]) - pixels)).astype(np.uint8)
    above = (made > changed.threshold).astype(np.uint8)
    outlines, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return Image.fromarray(np.asarray(cv2.drawContours(tinted, outlines, -1, (255, 255, 255), 1)))


def attention_overlay(face: Image.Image, attention: NDArray[np.float32]) -> Image.Image:
    """Darken a face where it received little attention. The square root makes small differences visible."""
    light = Image.fromarray((255 * np.sqrt(attention)).astype(np.uint8)).resize(face.size, Image.Resampling.BICUBIC)
    brightness = 0.15 + 0.85 * np.asarray(light, np.float32)[..., None] / 255
    return Image.fromarray((np.asarray(face) * brightness).astype(np.uint8))
