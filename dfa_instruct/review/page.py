"""The review page, built with Gradio. Only this machine can reach it.

Keys: A accepts, E edits (Ctrl+Enter saves, Esc leaves the editor), D drops an unsaved edit, R rejects, U takes the last
decision back, ← and → go to another item. All decisions are in the store, so that a reload or a crash loses none. An
unsaved edit stays in the browser tab (`keys.js`).
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
HOSTS: Final = ["127.0.0.1", "localhost"]
"""The accepted host names. Without this check, another site could reach the page by resolving its own name to this
machine (DNS rebinding)."""
VERDICTS: Final[dict[Verdict, str]] = {
    "borne_out": "✓ confirmed by the pixels",
    "another_artifact": "≈ other artifacts were measured here",
    "contradicted": "✗ contradicted by the pixels",
    "not_measured": "? not measured",
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
FORMAT: Final = f"One sentence per line: region (artifacts): sentence. Artifacts: {', '.join(ARTIFACTS)}."


class Page:
    """The actions of the page. Each action names the face that was shown, in case the page has changed since."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def begin(self) -> list[Any]:
        """Show the first item that has no decision yet."""
        return self.show(self.work.next_open(0))

    def act(self, action: Action, face_id: str, stored: str, text: str) -> list[Any]:
        """Perform an action and show the next item. If it fails, show a notice and keep the text in the editor.

        Args:
            action: The name of the button.
            face_id: The face that was shown; empty before the first one.
            stored: The stored claims at the time when they were shown.
            text: The text in the editor.

        Returns:
            A value for each of the `outputs` in `build`.
        """
        number = self.work.number_of.get(face_id)
        if number is None:
            return self.begin()
        try:
            return self._act(action, number, stored, text)
        except (OSError, ValueError, sqlite3.Error) as error:
            return self._refuse(f"Nothing was kept: {error}", stored)

    def _act(self, action: Action, number: int, stored: str, text: str) -> list[Any]:
        work, item = self.work, self.work.items[number]
        if action in ("accept", "save", "reject") and (now := lines(work.claims(item))) != stored:
            changed = "Nothing was kept: this description was changed in another window"
            if text == stored:
                return self.show(number, f"{changed}. The page now shows the stored text.")
            return self._refuse(f"{changed}. Save again to replace the stored text: {now}", now)
        match action:
            case "accept" | "reject":
                if text != stored:
                    return self._refuse("The edit is not saved. Save it (Ctrl+Enter) or drop it (D) first.", stored)
                if action == "reject" or work.choice(item) != "edit":  # an accepted edit stays an edit
                    work.decide(item, action)
            case "save":
                work.edit(item, text)
            case "back":
                if (undone := work.undo()) is None:
                    return self._refuse("There is no decision of yours to take back.", stored)
                return self.show(undone)
            case "drop":
                return self.show(number)
            case "previous" | "next":
                return self.show((number + (1 if action == "next" else -1)) % len(work.items))
        return self.show(work.next_open(number + 1))

    def _refuse(self, notice: str, stored: str) -> list[Any]:
        """Show a notice and change nothing else."""
        return [gr.skip(), stored, gr.skip(), gr.skip(), gr.skip(), self._notice(notice)]

    def show(self, number: int, notice: str = "") -> list[Any]:
        """Return the outputs for an item: face id, stored claims, item, editor text, progress and notice."""
        work = self.work
        item, progress = work.items[number], work.progress()
        face, bona_fide = work.faces.face(item.face_id), work.faces.bona_fide_of(item.face_id)
        landmarks = pair_landmarks(face, bona_fide)
        artifacts, claims = work.faces.artifacts(item.face_id), work.claims(item)
        page = TEMPLATES.get_template("item.html.jinja").render(
            item=item,
            number=number,
            progress=progress,
            choice=work.choice(item),
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
    """Build the page."""
    page = Page(work)
    queued: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "work", "api_visibility": "private"}
    with gr.Blocks(title="Review of descriptions", analytics_enabled=False) as blocks:
        done = gr.HTML()
        item = gr.HTML()
        notice = gr.HTML()
        gr.HTML('<div class="review"><p class="notice" role="alert" id="review-unsaved"></p></div>')
        text = gr.Textbox(
            label="The description, to edit (E)", info=FORMAT, lines=4, max_lines=12, elem_id="review-text"
        )
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
    """Serve a page in a background thread, to this machine only, and return its address."""
    style = TEMPLATES.get_template("style.css.jinja").render()
    _, address, _ = blocks.launch(
        server_name=HOSTS[0],
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)]},
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        head=f"<style>{style}</style><script>{(HERE / 'keys.js').read_text(encoding='utf-8')}</script>",
    )
    return str(address)


def review(folder: Path, split: Split, reviewer: str, templates: Path | None = None) -> None:
    """Serve the review of a split's descriptions until Ctrl+C.

    Raises:
        OSError: The folder contains no dataset, or no port is free.
        ValueError: There is nothing to review, or the reviewer's name is not valid.
    """
    work = Work(folder, split, reviewer, templates)
    blocks = build(work)
    print(f"the review is at {launch(blocks)} (Ctrl+C ends it)", flush=True)
    try:
        blocks.block_thread()
    finally:
        blocks.close(verbose=False)
