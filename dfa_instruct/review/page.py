"""The page on which a reviewer accepts, edits or rejects descriptions, by Gradio; it can be reached from here only.

The keys: A accepts, E edits (Ctrl+Enter saves, Esc leaves the text), D drops an edit that is not saved, R rejects, U
takes the last decision back, ← and → leave an item as it is. The page keeps no decision: what is shown after a reload,
or a crash, is what the store holds. An edit that is not saved stays in the browser's tab (`keys.js`).
"""

from __future__ import annotations

import base64
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import gradio as gr
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dfa_instruct.annotate.grounding import Verdict
from dfa_instruct.face.regions import region_outlines
from dfa_instruct.pairs import pair_landmarks
from dfa_instruct.review.reviewer import Work, lines
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, REGIONS, Split

HERE: Final = Path(__file__).parent
OWN_NAMES: Final = ["127.0.0.1", "localhost"]
"""Of this machine. A page of another site may have its own name lead here, and would then be let in."""
VERDICTS: Final[dict[Verdict, str]] = {
    "borne_out": "✓ borne out",
    "another_artifact": "≈ the region differs, but otherwise",
    "contradicted": "✗ the pixels contradict it",
    "not_measured": "? cannot be measured",
}
Action = Literal["accept", "save", "drop", "reject", "back", "previous", "next"]
BUTTONS: Final[tuple[tuple[Action, str, Literal["primary", "secondary", "stop"]], ...]] = (
    ("accept", "Accept (A)", "primary"),
    ("save", "Save edit (Ctrl+⏎)", "secondary"),
    ("drop", "Drop edit (D)", "secondary"),
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

    def act(self, action: Action, face_id: str, stored: str, text: str) -> list[Any]:
        """Do what a button or a key says, and show what comes next; where that fails, say so and leave the text alone.

        Args:
            action: the button's name.
            face_id: of the item that was shown; empty before the first one was.
            stored: its claims as they were stored when it was shown.
            text: what stands in the editor.

        Returns:
            A value for each of the `outputs` in `build`.
        """
        number = self.work.number_of.get(face_id)
        if number is None:
            return self.begin()
        try:
            return self._act(action, number, stored, text)
        except (OSError, ValueError, sqlite3.Error) as error:
            return self.refused(f"Nothing was kept: {error}", stored)

    def _act(self, action: Action, number: int, stored: str, text: str) -> list[Any]:
        work, item = self.work, self.work.items[number]
        if action in ("accept", "save", "reject") and (now := lines(work.claims(item))) != stored:
            changed = "Nothing was kept, for this description was changed in another window"
            if text == stored:
                return self.shown(number, f"{changed}. This is what is stored now.")
            return self.refused(f"{changed}. Save again to replace what is stored now: {now}", now)
        match action:
            case "accept" | "reject":
                if text != stored:
                    return self.refused("The edit is not saved. Save it (Ctrl+Enter) or drop it (D) first.", stored)
                if action == "reject" or work.chosen(item) != "edit":  # an edit that is accepted stays that edit
                    work.decide(item, action)
            case "save":
                work.edit(item, text)
            case "back":
                if (taken := work.take_back()) is None:
                    return self.refused("There is no decision of yours to take back.", stored)
                return self.shown(taken)
            case "drop":
                return self.shown(number)
            case "previous" | "next":
                return self.shown((number + (1 if action == "next" else -1)) % len(work.items))
        return self.shown(work.next_open(number + 1))

    def refused(self, notice: str, stored: str) -> list[Any]:
        """Leave everything as it is, and say why."""
        return [gr.skip(), stored, gr.skip(), gr.skip(), gr.skip(), self._notice(notice)]

    def shown(self, number: int, notice: str = "") -> list[Any]:
        """Lay an item out: its face, its claims as they are stored, its page, its claims to edit, the progress."""
        work = self.work
        item, progress = work.items[number], work.progress()
        face = work.faces.face(item.face_id)
        bona_fide = work.faces.face(face.pair_id) if face.pair_id in work.faces.places else None
        landmarks = pair_landmarks(face, bona_fide)
        artifacts, claims = work.faces.artifacts(item.face_id), work.claims(item)
        page = TEMPLATES.get_template("item.html.jinja").render(
            item=item,
            number=number,
            progress=progress,
            chosen=work.chosen(item),
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
        notice = notice or ("All are decided." if progress.decided == progress.items else "")
        return [item.face_id, lines(claims), page, lines(claims), done, self._notice(notice)]

    def _notice(self, text: str) -> str:
        return TEMPLATES.get_template("notice.html.jinja").render(notice=text)

    def _uri(self, face_id: str) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.work.faces.png(face_id)).decode()}"


def build(work: Work) -> gr.Blocks:
    """Lay out the page of a reviewer's work."""
    page = Page(work)
    queued: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "work", "api_visibility": "private"}
    with gr.Blocks(title="Review of descriptions", analytics_enabled=False) as blocks:
        done = gr.HTML()
        item = gr.HTML()
        notice = gr.HTML()
        gr.HTML('<div class="review"><p class="notice" role="alert" id="review-unsaved"></p></div>')
        text = gr.Textbox(label="The description, to edit (E)", info=FORM, lines=4, max_lines=12, elem_id="review-text")
        face_id, stored = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        outputs = [face_id, stored, item, text, done, notice]
        events = [blocks.load(page.begin, None, outputs, **queued)]
        with gr.Row():
            for name, label, variant in BUTTONS:
                button = gr.Button(label, variant=variant, min_width=110, elem_id=f"review-{name}")
                events.append(button.click(partial(page.act, name), [face_id, stored, text], outputs, **queued))
        for event in events:
            event.then(None, [face_id, stored, text], text, js="window.reviewShown", **queued)
    return blocks.queue(max_size=None)


def launch(blocks: gr.Blocks) -> str:
    """Serve a page from a thread of its own, to this machine only; return its address."""
    style = TEMPLATES.get_template("style.css.jinja").render()
    _, address, _ = blocks.launch(
        server_name=OWN_NAMES[0],
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES)]},
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
