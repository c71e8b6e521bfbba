r"""A report as PDF: the elements of its HTML, laid on pages by ReportLab.

So both say the same. Nothing but the HTML's text and the pictures that stand in it comes in. Characters that the font
(DejaVu Sans: Latin, Greek, Cyrillic, Hebrew and more) lacks are written as their code, such as \u56fe.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from PIL import Image as PillowImage
from reportlab.graphics.shapes import Drawing, Image, Line, Polygon, Rect, Shape, String
from reportlab.lib.colors import black, grey, lightgrey, transparent, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Table

FONT: Final = "DejaVu Sans"
BOLD: Final = "DejaVu Sans Bold"
MARGIN: Final = 20 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
PICTURE: Final = 75 * mm
"""Width of a picture."""
TIMELINE: Final = 110 * mm
"""Width of a video's timeline."""
SIZES: Final = {"h1": 17, "h2": 13, "h3": 10.5, "strong": 15, "figcaption": 8}
"""Points; all others are 8.5."""
HEADINGS: Final = ("h1", "h2", "h3", "dt", "summary")
TEXTS: Final = (*HEADINGS, "strong", "p", "li", "dd", "th", "td", "figcaption")
"""Elements that hold text and no other of them."""
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def report_pdf(html: str) -> bytes:
    """Lay a report on pages of A4.

    Args:
        html: what `modeling_dfa_gpt.app.case_report.report_html` writes, which is XML, too.
    """
    _register_fonts()
    root = ElementTree.fromstring(NO_XML.sub("\ufffd", html))
    title = root.findtext("head/title", "")

    def number(canvas: Any, _: Any) -> None:
        canvas.setFont(FONT, 8)
        canvas.drawString(MARGIN, 12 * mm, title)
        canvas.drawRightString(A4[0] - MARGIN, 12 * mm, f"page {canvas.getPageNumber()}")

    pages = io.BytesIO()
    margins = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), MARGIN)
    document = SimpleDocTemplate(pages, pagesize=A4, title=title, author="DFA-GPT", lang="en", **margins)
    document.build(list(_laid(root.find("body"))), onFirstPage=number, onLaterPages=number)
    return pages.getvalue()


@cache
def _register_fonts() -> None:
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name, file in ((FONT, "DejaVuSans.ttf"), (BOLD, "DejaVuSans-Bold.ttf")):
        pdfmetrics.registerFont(TTFont(name, fonts / file))


def _laid(element: Any) -> Iterator[Flowable]:
    """Yield what ReportLab lays out of an element; one that is not known gives what is in it."""
    match element.tag, element.get("class", ""):
        case tag, _ if tag in TEXTS:
            if text := _text(element):
                yield Paragraph(text, _style(tag))
        case "table", _:
            rows = [[Paragraph(_text(cell), _style(cell.tag)) for cell in row] for row in element.iter("tr")]
            line = ("LINEBELOW", (0, 0), (-1, -1), 0.4, lightgrey)
            padding = [(side, (0, 0), (-1, -1), 2) for side in ("TOPPADDING", "BOTTOMPADDING", "LEFTPADDING")]
            columns = len(rows[0])
            widths = [50 * mm] + [(WIDTH - 50 * mm) / (columns - 1)] * (columns - 1)
            yield Table(rows, widths, style=[("VALIGN", (0, 0), (-1, -1), "TOP"), line, *padding], hAlign="LEFT")
        case "svg", "timeline":
            yield _timeline(element)
        case "svg" | "img", _:
            yield _drawn(element, PICTURE)
        case "div", "frames":
            width = WIDTH / len(element)
            row = [[_drawn(figure[0], width - 2 * mm), *_laid(figure[1])] for figure in element]
            yield Table([row], [width] * len(element), style=[("VALIGN", (0, 0), (-1, -1), "TOP")], hAlign="LEFT")
        case "div", "scale":
            yield _scale(element)
        case "div", "ends":
            return  # drawn with the scale
        case _:
            for part in element:
                yield from _laid(part)


def _text(element: Any) -> str:
    """Return an element's text as ReportLab's markup takes it."""
    known = pdfmetrics.getFont(FONT).face.charToGlyph
    lines = "".join(element.itertext()).strip().splitlines() if element.tag == "dd" else ["".join(element.itertext())]
    plain = "\n".join(" ".join(line.split()) for line in lines)
    drawable = (c if ord(c) in known or c == "\n" else c.encode("unicode_escape").decode() for c in plain)
    bullet = "– " if element.tag == "li" and plain else ""
    return bullet + escape("".join(drawable)).replace("\n", "<br/>")


def _style(tag: str) -> ParagraphStyle:
    size = SIZES.get(tag, 8.5)
    heading = tag in HEADINGS or tag == "strong"
    return ParagraphStyle(
        tag,
        fontName=BOLD if heading or tag == "th" else FONT,
        fontSize=size,
        leading=1.35 * size,
        spaceBefore=0.9 * size if heading else 2,
        spaceAfter=3,
        leftIndent=4 * mm if tag in ("li", "dd") else 0,
        keepWithNext=tag in HEADINGS,
    )


def _drawn(element: Any, wide: float) -> Drawing:
    """Draw a picture, or the face with the outlines of the regions that are named, so many points wide."""
    picture = element if element.tag == "img" else element.find("image")
    content = picture.get("src") or picture.get("href")
    pixels = PillowImage.open(io.BytesIO(base64.b64decode(content.partition("base64,")[2])))
    width, height = (float(picture.get(side) or 0) for side in ("width", "height"))
    width, height = width or pixels.width, height or pixels.height
    factor = wide / width
    shapes: list[Shape] = [Image(0, 0, wide, factor * height, pixels)]
    for group in element.iter("g"):
        if "silent" in group.get("class"):
            continue
        for outline in group.iter("polygon"):
            points = [tuple(map(float, point.split(","))) for point in outline.get("points").split()]
            placed = [factor * value for x, y in points for value in (x, height - y)]
            for colour, stroke in ((black, 2.4), (white, 1)):
                shapes.append(Polygon(placed, fillColor=transparent, strokeColor=colour, strokeWidth=stroke))
    return Drawing(wide, factor * height + 3, *shapes)


def _timeline(element: Any) -> Drawing:
    """Draw how probable a forgery is over time: the lines, bars and texts of the SVG."""
    _, _, width, height = map(float, element.get("viewBox").split())
    factor = TIMELINE / width
    shapes: list[Shape] = []
    for part in element:
        x, y, x1, x2, y1, w, h = (
            factor * float(part.get(name) or 0) for name in ("x", "y", "x1", "x2", "y1", "width", "height")
        )
        top = factor * height
        if part.tag == "line":
            shapes.append(Line(x1, top - y1, x2, top - y1, strokeWidth=0.4, strokeDashArray=(2, 2)))
        elif part.tag == "rect":
            fill = black if part.get("class") == "forged" else white
            shapes.append(Rect(x, top - y - h, w, h, fillColor=fill, strokeColor=black, strokeWidth=0.6))
        else:
            anchor = part.get("text-anchor", "start")
            shapes.append(String(x, top - y, part.text, fontName=FONT, fontSize=3.6 * factor, textAnchor=anchor))
    return Drawing(TIMELINE, top, *shapes)


def _scale(element: Any) -> Drawing:
    """Draw where the probability lies between bona fide and forged, and the band in which a verdict is uncertain."""

    def share(part: Any, side: str) -> float:
        return float(re.search(rf"{side}: ([\d.]+)%", part.get("style"))[1]) / 100  # type: ignore[index]

    width, height = 110 * mm, 4 * mm
    shapes: list[Shape] = []
    for part in element:
        left = share(part, "left") * width
        if part.get("class") == "band":
            right = (1 - share(part, "right")) * width
            shapes.append(Rect(left, 12, right - left, height, fillColor=lightgrey, strokeColor=grey))
        else:
            shapes.append(Line(left, 9, left, 15 + height, strokeWidth=2.5, strokeColor=black))
    ends = [
        String(x, 1, text, fontName=FONT, fontSize=8, textAnchor=anchor)
        for x, text, anchor in ((0, "bona fide", "start"), (width, "forged", "end"))
    ]
    frame = Rect(0, 12, width, height, fillColor=transparent, strokeColor=black, strokeWidth=0.8)
    return Drawing(width, 20 + height, *shapes, frame, *ends)
