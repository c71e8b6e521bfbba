"""A case as HTML: the verdict, the face with the named regions drawn on, what the tower looked at.

All text goes through Jinja's escaping, and pictures stand in the page itself: nothing is fetched, nothing is stored.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.face.regions import region_outlines
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.vocabulary import CATEGORIES, REGIONS
from modeling_dfa_gpt.app.case import SHOWN_SIDE, Case
from modeling_dfa_gpt.app.video import Frame, verdict, worst
from modeling_dfa_gpt.calibration import MAX_ERROR_RATE, Calibration

WORST_SHOWN = 6
"""Frames of a video."""
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals.update(categories=CATEGORIES, explanations=libraries().df_c.explanations, region_names=REGIONS)


def style() -> str:
    """Return the style sheet of what this module draws."""
    return TEMPLATES.get_template("case.css.jinja").render()


def case_html(case: Case, calibration: Calibration) -> tuple[str, str]:
    """Draw what is known of a case: its notice or the verdict with the category; and the face with what is said."""
    known = context(case, calibration)
    verdict, face = (TEMPLATES.get_template(f"{part}.html.jinja").render(**known) for part in ("verdict", "face"))
    return verdict, face


def context(case: Case, calibration: Calibration, printed: bool = False) -> dict[str, Any]:
    """Lay out a case for the templates; where it is `printed`, nothing is folded away."""
    face = case.faces[case.chosen] if case.chosen is not None else None
    analysis = case.analysis
    return {
        "printed": printed,
        "case": case,
        "analysis": analysis,
        "calibration": calibration,
        "tolerated": MAX_ERROR_RATE,
        "picture_uri": data_uri(case.upload.picture) if printed else "",
        "face": face,
        "face_uri": data_uri(face.image) if face else "",
        "shapes": {} if face is None or face.landmarks is None else region_outlines(face.landmarks, face.image.width),
        "attention_uri": data_uri(lit(face.image, case.attention)) if face and case.attention is not None else "",
    }


def notice_html(sentence: str) -> str:
    """Draw a sentence that says why there is no case; nothing for an empty one."""
    return f'<div class="dfa"><p class="notice" role="alert">{escape(sentence)}</p></div>' if sentence else ""


def faces_html(case: Case) -> str:
    """Draw the picture with its faces numbered, from left to right."""
    boxes = [
        (*face.in_picture.min(0).tolist(), *np.ptp(face.in_picture, 0).tolist())
        for face in case.faces
        if face.in_picture is not None
    ]
    return TEMPLATES.get_template("faces.html.jinja").render(
        picture_uri=data_uri(case.upload.picture), width=case.upload.width, height=case.upload.height, boxes=boxes
    )


def video_html(frames: Sequence[Frame], calibration: Calibration) -> str:
    """Draw how probable a forgery is in each frame of a video over time, and the worst frames."""
    return TEMPLATES.get_template("video.html.jinja").render(
        frames=frames,
        length=frames[-1].seconds,
        calibration=calibration,
        worst=[(frame, data_uri(frame.case.face.image)) for frame in worst(frames)[:WORST_SHOWN]],
        verdict=verdict(frames, calibration).in_words(),
    )


def comparison_html(suspect: Case, reference: Case, calibration: Calibration) -> str:
    """Draw two pictures side by side, and which regions the model names in the one, the other or both."""
    sides = []
    for name, case in (("Suspect", suspect), ("Reference", reference)):
        verdict, face = case_html(case, calibration)
        sides.append((name, Markup(verdict), Markup(face), {r for s in case.statements for r in s.regions}))
    return TEMPLATES.get_template("comparison.html.jinja").render(sides=sides, done=bool(reference.statements))


def data_uri(image: Image.Image) -> str:
    """Write a picture into an address of its own, reduced where it is large."""
    image = image.copy()
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def lit(face: Image.Image, attention: NDArray[np.float32]) -> Image.Image:
    """Show a face bright where the tower looked, by the root of the attention, and dark where it did not."""
    light = Image.fromarray((255 * np.sqrt(attention)).astype(np.uint8)).resize(face.size, Image.Resampling.BICUBIC)
    brightness = 0.15 + 0.85 * np.asarray(light, np.float32)[..., None] / 255
    return Image.fromarray((np.asarray(face) * brightness).astype(np.uint8))
