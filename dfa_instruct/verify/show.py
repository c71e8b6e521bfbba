"""Draw a contact sheet: forgeries beside their bona fide faces, the differences, and the artifacts in the regions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dfa_instruct.dataset.reading import open_splits, rows_of
from dfa_instruct.face.regions import region_masks
from dfa_instruct.records import Pixels
from dfa_instruct.vocabulary import CATEGORIES, FORGERY_CATEGORIES, REGIONS, ArtifactKind, Region

CELL: Final = 160
GAP: Final = 6
WORDS_WIDTH: Final = 190
HEADING: Final = 34
LABEL: Final = 22
EXAMPLE_WIDTH: Final = 4 * (CELL + GAP) + WORDS_WIDTH
COLUMNS: Final = 2
GAIN: Final = 4
"""The factor by which differences are enlarged, so that faint ones become visible."""

KIND_COLOURS: Final[dict[ArtifactKind, tuple[int, int, int]]] = {
    "colour": (229, 57, 53),
    "texture": (67, 160, 71),
    "sharpness": (30, 136, 229),
    "geometry": (255, 179, 0),
    "boundary": (171, 71, 188),
}
"""Artifact → the colour of the outline of regions in which it is the strongest artifact."""


@dataclass(frozen=True)
class Example:
    """The rows of a forgery and of its bona fide face, if it has one."""

    forgery: dict[str, Any]
    bona_fide: dict[str, Any] | None


def contact_sheet(
    where: str, split: str = "test", technique: str | None = None, examples: int = COLUMNS
) -> Image.Image:
    """Draw forgeries of each technique in a split: bona fide face, forgery, difference, regions and artifacts.

    Args:
        where: A dataset folder, or the id of a dataset repository on the Hub.
        split: The split to draw from.
        technique: The only technique to draw. Default: all.
        examples: The number of forgeries of each technique. The first ones in the split are drawn.

    Raises:
        FileNotFoundError: See `dfa_instruct.dataset.reading.open_splits`.
        ValueError: The split or the technique is missing, there is no forgery, or a row has no image or is unreadable.
    """
    splits = open_splits(where, ["face_id", "category", "technique", "pair_id"])
    if split not in splits:
        raise ValueError(f"{where}: no split {split!r}; there is {', '.join(splits)}")
    chosen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in splits[split]:
        if row["category"] in FORGERY_CATEGORIES:
            rows = chosen[row["category"], row["technique"]]
            if len(rows) < examples:
                rows.append(row)
    if technique is not None:
        known = sorted(name for _, name in chosen)
        chosen = {key: rows for key, rows in chosen.items() if key[1] == technique}
        if not chosen:
            raise ValueError(f"{where}, {split}: no technique {technique!r}; there is {', '.join(known) or 'none'}")
    if not chosen:
        raise ValueError(f"{where}, {split}: no forgery to show")
    wanted = {name for rows in chosen.values() for row in rows for name in (row["face_id"], row["pair_id"]) if name}
    faces: dict[str, dict[str, Any]] = {}
    drawn = open_splits(where, ["face_id", "image", "landmarks", "artifacts"])[split]
    for row in rows_of(where, split, drawn, "draw"):
        if row["face_id"] in wanted and row["image"] is None:
            raise ValueError(f"{where}: {split} {row['face_id']} has no image")
        if row["face_id"] in wanted:
            faces[row["face_id"]] = row
            if len(faces) == len(wanted):
                break
    sections = {
        category: {
            name: [Example(faces[row["face_id"]], faces.get(row["pair_id"])) for row in chosen[category, name]]
            for own, name in sorted(chosen)
            if own == category
        }
        for category in FORGERY_CATEGORIES
    }
    return _lay_out({category: techniques for category, techniques in sections.items() if techniques})


def _lay_out(sections: dict[Any, dict[str, list[Example]]]) -> Image.Image:
    line = CELL + GAP
    lines = [-(-len(examples) // COLUMNS) for techniques in sections.values() for examples in techniques.values()]
    widest = max(min(len(examples), COLUMNS) for techniques in sections.values() for examples in techniques.values())
    width = widest * EXAMPLE_WIDTH + (widest + 1) * 2 * GAP
    height = LABEL + HEADING * len(sections) + sum(LABEL + n * line for n in lines) + 2 * GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    left = [2 * GAP + column * (EXAMPLE_WIDTH + 2 * GAP) for column in range(widest)]
    for x in left:
        for place, name in enumerate(("bona fide", "forgery", f"difference × {GAIN}", "evidence")):
            middle = x + place * (CELL + GAP) + CELL // 2
            draw.text((middle, LABEL // 2), name, fill="dimgray", font=_font(12), anchor="mm")
    y = LABEL
    for category, techniques in sections.items():
        draw.rectangle((0, y + 4, width, y + HEADING - 4), fill="#eceff1")
        draw.text((2 * GAP, y + HEADING // 2), CATEGORIES[category], fill="black", font=_font(16), anchor="lm")
        y += HEADING
        for technique, examples in techniques.items():
            draw.text((2 * GAP, y + LABEL // 2), technique, fill="black", font=_font(13), anchor="lm")
            y += LABEL
            for number, example in enumerate(examples):
                sheet.paste(draw_example(example), (left[number % COLUMNS], y + number // COLUMNS * line))
            y += -(-len(examples) // COLUMNS) * line
    return sheet


def draw_example(example: Example) -> Image.Image:
    """Draw a forgery as four pictures and a list of its artifacts, `EXAMPLE_WIDTH` × `CELL` pixels."""
    strip = Image.new("RGB", (EXAMPLE_WIDTH, CELL), "white")
    draw = ImageDraw.Draw(strip)
    forgery, bona_fide = example.forgery, example.bona_fide
    own = np.asarray(forgery["image"].convert("RGB"))
    tiles: list[Image.Image | None] = [None, forgery["image"], None, _outlined(own, forgery, bona_fide)]
    if bona_fide is not None:
        original = bona_fide["image"]
        tiles[0] = original
        difference = np.abs(own.astype(int) - np.asarray(original.convert("RGB"), int)).max(-1)
        tiles[2] = Image.fromarray(np.clip(GAIN * difference, 0, 255).astype(np.uint8))
    for place, tile in enumerate(tiles):
        x = place * (CELL + GAP)
        if tile is None:
            draw.rectangle((x, 0, x + CELL - 1, CELL - 1), outline="lightgray")
            draw.text((x + CELL // 2, CELL // 2), "none", fill="gray", font=_font(12), anchor="mm")
        else:
            strip.paste(tile.convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC), (x, 0))
    x, y = 4 * (CELL + GAP), 2
    if not forgery["artifacts"]:
        draw.text((x, y), "no region stands out", fill="gray", font=_font(12))
    last = None
    for number, artifact in enumerate(forgery["artifacts"]):
        if y + 30 > CELL - 15:  # no room for a region, an artifact and this line
            draw.text((x, y), f"and {len(forgery['artifacts']) - number} more", fill="gray", font=_font(12))
            break
        if artifact["region"] != last:
            last = artifact["region"]
            draw.text((x, y), REGIONS[last], fill="black", font=_font(12))
            y += 15
        colour = KIND_COLOURS[artifact["artifact"]]
        draw.rectangle((x + 8, y + 3, x + 8 + round(60 * artifact["strength"]), y + 10), fill=colour)
        draw.rectangle((x + 8, y + 3, x + 68, y + 10), outline="lightgray")
        draw.text((x + 74, y - 1), f"{artifact['artifact']} {artifact['strength']:.2f}", fill="black", font=_font(11))
        y += 15
    return strip


def _outlined(image: Pixels, forgery: dict[str, Any], bona_fide: dict[str, Any] | None) -> Image.Image:
    """Outline the regions that have artifacts, each in the colour of its strongest one."""
    landmarks = (bona_fide or forgery)["landmarks"] or forgery["landmarks"]
    scale = 4
    side = scale * CELL
    canvas = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    if landmarks is not None:
        masks = region_masks(np.asarray(landmarks, np.float32) * side / image.shape[0], side)
        strongest: dict[Region, ArtifactKind] = {}
        for artifact in forgery["artifacts"]:  # the strongest artifact of a region comes first
            strongest.setdefault(artifact["region"], artifact["artifact"])
        for region, kind in reversed(strongest.items()):
            contours, _ = cv2.findContours(masks[region].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.polylines(canvas, contours, True, KIND_COLOURS[kind], 2 * scale, cv2.LINE_AA)
    return Image.fromarray(np.asarray(canvas, np.uint8))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
