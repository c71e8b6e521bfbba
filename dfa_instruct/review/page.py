"""The page on which a reviewer accepts, edits or rejects descriptions, by Gradio; it can be reached from here only.

The keys: A accepts, E edits (Ctrl+Enter saves, Esc leaves), R rejects, U takes the last decision back, ← and → leave
an item as it is. Nothing is kept in the page: what is shown after a reload, or a crash, is what the store holds.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final, Literal

import gradio as gr
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dfa_instruct.annotate.answers import NotUnderstoodError
from dfa_instruct.annotate.decisions import Choice
from dfa_instruct.annotate.grounding import Verdict
from dfa_instruct.regions import region_outlines
from dfa_instruct.review.work import Work, lines
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, REGIONS, Split

HERE: Final = Path(__file__).parent
VERDICTS: Final[dict[Verdict, str]] = {
    "borne_out": "✓ borne out",
    "another_artifact": "≈ the region differs, but otherwise",
    "contradicted": "✗ the pixels contradict it",
    "not_measured": "? cannot be measured",
}
BUTTONS: Final[tuple[tuple[str, str, Literal["primary", "secondary", "stop"]], ...]] = (
    ("accept", "Accept (A)", "primary"),
    ("save", "Save (Ctrl+⏎)", "secondary"),
    ("reject", "Reject (R)", "stop"),
    ("back", "Take back (U)", "secondary"),
    ("previous", "Previous (←)", "secondary"),
    ("next", "Next (→)", "secondary"),
)
TEMPLATES: Final = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
TEMPLATES.globals.update(categories=CATEGORIES, region_names=REGIONS, verdicts=VERDICTS)
FORM: Final = f"A line a sentence: region (artifacts): sentence. Artifacts: {', '.join(ARTIFACTS)}."


class Page:
    """What happens on the page; what is shown is named by its face, so that a key acts on what was seen."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def begin(self) -> list[Any]:
        """Show the first item that is not decided."""
        return self.shown(self.work.next_open(0))

    def decide(self, face_id: str, choice: Choice) -> list[Any]:
        """Accept or reject what is shown, and go on to what is not decided."""
        number = self.work.number_of[face_id]
        self.work.decide(self.work.items[number], choice)
        return self.shown(self.work.next_open(number + 1))

    def save(self, face_id: str, text: str) -> list[Any]:
        """Keep an edit and go on; where it is not understood, say why and leave it as it was typed."""
        number = self.work.number_of[face_id]
        try:
            self.work.edit(self.work.items[number], text)
        except NotUnderstoodError as error:
            return [*self.shown(number, str(error))[:2], gr.skip(), gr.skip()]
        return self.shown(self.work.next_open(number + 1))

    def take_back(self, face_id: str) -> list[Any]:
        """Take the last decision back, and show what it was about."""
        number = self.work.take_back()
        if number is None:
            return self.shown(self.work.number_of[face_id], "There is no decision of yours to take back.")
        return self.shown(number)

    def move(self, face_id: str, by: int) -> list[Any]:
        """Show a neighbour of what is shown."""
        return self.shown((self.work.number_of[face_id] + by) % len(self.work.items))

    def shown(self, number: int, notice: str = "") -> list[Any]:
        """Lay an item out: its face, its page, its claims as text, the progress (`outputs` in `build`)."""
        work = self.work
        item, progress = work.items[number], work.progress()
        face = work.faces.record(item.face_id)
        bona_fide = work.faces.record(face.pair_id) if face.pair_id in work.faces.places else None
        landmarks = face.landmarks if bona_fide is None or bona_fide.landmarks is None else bona_fide.landmarks
        artifacts, claims = work.faces.artifacts(item.face_id), work.claims(item)
        page = TEMPLATES.get_template("item.html.jinja").render(
            item=item,
            number=number,
            progress=progress,
            chosen=work.chosen(item),
            notice=notice or ("All are decided." if progress.decided == progress.items else ""),
            face=face,
            size=len(face.image),
            forgery_uri=self._uri(item.face_id),
            bona_fide_uri="" if bona_fide is None else self._uri(bona_fide.face_id),
            shapes={} if landmarks is None else region_outlines(landmarks, len(face.image)),
            artifacts=artifacts,
            measured={artifact.region for artifact in artifacts},
            claimed={claim["region"] for claim in claims},
            claims=[{"verdict": None, **claim} for claim in claims],
        )
        done = TEMPLATES.get_template("progress.html.jinja").render(progress=progress, reviewer=work.reviewer)
        return [item.face_id, page, lines(claims), done]

    def _uri(self, face_id: str) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.work.faces.png(face_id)).decode()}"


def build(work: Work) -> gr.Blocks:
    """Lay out the page of a reviewer's work."""
    page = Page(work)
    queued: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "work", "api_visibility": "private"}
    with gr.Blocks(title="Review of descriptions", analytics_enabled=False) as blocks:
        done = gr.HTML()
        item = gr.HTML()
        text = gr.Textbox(label="The description, to edit (E)", info=FORM, lines=4, max_lines=12, elem_id="review-text")
        face_id = gr.Textbox(visible="hidden")
        with gr.Row():
            buttons = {
                name: gr.Button(label, variant=variant, min_width=110, elem_id=f"review-{name}")
                for name, label, variant in BUTTONS
            }
        outputs = [face_id, item, text, done]
        blocks.load(page.begin, None, outputs, **queued)
        buttons["accept"].click(lambda face: page.decide(face, "accept"), face_id, outputs, **queued)
        buttons["reject"].click(lambda face: page.decide(face, "reject"), face_id, outputs, **queued)
        buttons["save"].click(page.save, [face_id, text], outputs, **queued)
        buttons["back"].click(page.take_back, face_id, outputs, **queued)
        buttons["previous"].click(lambda face: page.move(face, -1), face_id, outputs, **queued)
        buttons["next"].click(lambda face: page.move(face, 1), face_id, outputs, **queued)
    return blocks.queue(max_size=None)


def launch(blocks: gr.Blocks) -> str:
    """Serve a page from a thread of its own, to this machine only; return its address."""
    style = TEMPLATES.get_template("style.css.jinja").render()
    _, address, _ = blocks.launch(
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        head=f"<style>{style}</style><script>{(HERE / 'keys.js').read_text(encoding='utf-8')}</script>",
    )
    return str(address)


def review(folder: Path, split: Split, reviewer: str) -> None:
    """Serve the review of a split's descriptions until it is interrupted.

    Raises:
        OSError, ValueError: see `Work`; or no port is free.
    """
    work = Work(folder, split, reviewer)
    blocks = build(work)
    print(f"the review is at {launch(blocks)} (Ctrl+C ends it)", flush=True)
    try:
        blocks.block_thread()
    finally:
        blocks.close(verbose=False)
