"""The page, and its API, by Gradio.

A picture goes in by file, paste or camera; the answers are `modeling_dfa_gpt.app.case`'s. The same from a program:

    from gradio_client import Client, handle_file

    client = Client("http://127.0.0.1:7860")
    client.predict(handle_file("face.png"), None, api_name="/analyze")  # a dictionary, as `dfa-gpt analyze --json`
    client.predict("What gives it away?", api_name="/chat")  # talks on about that picture
    client.predict(api_name="/report")  # HTML

A client is a session: `/chat` and `/report` are about the picture that it gave last. The second argument of `/analyze`
is the number of a face, from left to right, where there are several. `client.submit` streams an answer.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from dfa_instruct.sources.media import BadPictureError
from modeling_dfa_gpt.app.case import LONGEST_QUESTION, SUGGESTED, Analyst, Case, Turn
from modeling_dfa_gpt.app.drawing import case_html, faces_html, notice_html, style
from modeling_dfa_gpt.app.guard import Guard
from modeling_dfa_gpt.app.report import model_facts, report_html
from modeling_dfa_gpt.app.upload import LARGEST_FILE
from modeling_dfa_gpt.dfa_gpt import DfaGpt

FILES_KEPT = 900
"""Seconds that an upload is on disk at most; one that is refused goes at once, and all of them when the app ends."""
SESSION_KEPT = 3600
"""Seconds without a word, after which a case is forgotten."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FIRST = "Give a picture first."
DOWNLOAD = """(html) => {
    if (!html) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([html], {type: "text/html"}));
    link.download = "face-analysis.html";
    link.click();
}"""
ABOUT = """<h1>DFA-GPT</h1><p>Is this face forged, how, and what gives it away? Put in a picture of a face that you have
the right to use. It stays on this machine and is deleted. The answers are a model's: they point at where to look, and
prove nothing.</p>"""


class Page:
    """What happens on the page. Everything that uses the model waits in one queue (`queued`)."""

    def __init__(self, model: DfaGpt, name: str) -> None:
        self.analyst = Analyst(model)
        self.calibration = model.calibration
        self.facts = model_facts(name)

    def open(self, sent: dict[str, Any]) -> Case:
        """Open an upload; one that is refused is deleted at once.

        Raises:
            BadPictureError: it is not a picture that is taken.
        """
        path = Path(sent["path"])
        try:
            return self.analyst.open(path)
        except BadPictureError:
            path.unlink(missing_ok=True)
            raise

    def begin(self, sent: dict[str, Any] | None) -> Iterator[list[Any]]:
        """Begin a new case with a picture."""
        yield self.shown(None)
        if sent is None:
            return
        try:
            case = self.open(sent)
        except BadPictureError as error:
            yield self.shown(None, str(error))
            return
        yield self.shown(case)
        if case.chosen is not None:
            for known in self.analyst.analyze(case):
                yield self.shown(known)

    def choose(self, case: Case | None, number: int | None) -> Iterator[list[Any]]:
        """Analyse one of several faces."""
        if case is None or number is None:
            return
        case.chosen = number - 1
        for known in self.analyst.analyze(case):
            yield self.shown(known)

    def shown(self, case: Case | None, refusal: str = "") -> list[Any]:
        """Lay out a case for the components of the page (`outputs` in `build`), or the sentence why there is none."""
        several = case is not None and len(case.faces) > 1
        questions = case.suggestions() if case and case.turns else []
        numbers = range(1, len(case.faces) + 1) if case else ()
        return [
            case,
            None if refusal else gr.skip(),
            gr.HTML(faces_html(case) if case and several else "", visible=several),
            gr.Radio([(f"Face {number}", number) for number in numbers], visible=several,
                     value=None if case is None or case.chosen is None else case.chosen + 1),
            *(case_html(case, self.calibration) if case else (notice_html(refusal), "")),
            messages(case),
            *(gr.Button(questions[i] if questions else "", visible=bool(questions)) for i in range(len(SUGGESTED))),
        ]  # fmt: skip

    def ask(self, case: Case | None, question: str) -> Iterator[list[dict[str, str]]]:
        """Answer a question, shown as the whole conversation, from its first token on."""
        yield from self._talk(case, lambda opened: self.analyst.ask(opened, question))

    def ask_again(self, case: Case | None) -> Iterator[list[dict[str, str]]]:
        """Ask the last question again."""
        yield from self._talk(case, self.analyst.ask_again)

    def _talk(self, case: Case | None, answer: Callable[[Case], Iterator[Turn]]) -> Iterator[list[dict[str, str]]]:
        if case is None or case.conversation is None:
            raise gr.Error(FIRST, print_exception=False)
        for _ in answer(case):
            yield messages(case)

    def clear(self, case: Case | None) -> list[dict[str, str]]:
        """Begin the conversation anew."""
        if case is not None:
            self.analyst.clear(case)
        return messages(case)

    def report(self, case: Case | None) -> str:
        """Write the report of a case."""
        if case is None or case.analysis is None:
            raise gr.Error(FIRST, print_exception=False)
        return report_html(case, self.calibration, self.facts)

    def analyze(self, sent: dict[str, Any] | None, face: int | None = None) -> tuple[Case, dict[str, Any]]:
        """`/analyze`: begin a new case with a picture; of several faces, with the one of this number."""
        if sent is None:
            raise gr.Error(FIRST, print_exception=False)
        try:
            case = self.open(sent)
        except BadPictureError as error:
            raise gr.Error(str(error), title="Not taken", print_exception=False) from error
        if face is not None and case.faces:
            if face not in range(1, len(case.faces) + 1):
                raise gr.Error(f"There is no face {face}, only 1 to {len(case.faces)}.", print_exception=False)
            case.chosen = int(face) - 1
        if case.chosen is not None:
            for _ in self.analyst.analyze(case):
                pass
        return case, case.to_dict()

    def chat(self, case: Case | None, question: str) -> Iterator[str]:
        """`/chat`: talk on about the picture that was given last; the answer as far as it has come."""
        if case is None or case.conversation is None:
            raise gr.Error(FIRST, print_exception=False)
        for turn in self.analyst.ask(case, question):
            yield turn.answer.strip()


def messages(case: Case | None) -> list[dict[str, str]]:
    """Lay out a conversation for Gradio's chatbot, escaped: HTML is obeyed there even where Markdown is not."""
    said = []
    for turn in case.turns if case else ():
        said.append({"role": "user", "content": escape(turn.question, quote=False)})
        said.append({"role": "assistant", "content": escape(turn.shown, quote=False) or "…"})
    return said


def take(question: str) -> tuple[gr.Textbox, gr.Button, str]:
    """Empty the line that a question was typed in, and hand it on; until it is answered, no other is taken."""
    return gr.Textbox("", interactive=False), gr.Button(interactive=False), question


def take_more() -> tuple[gr.Textbox, gr.Button]:
    """Let the next question be typed."""
    return gr.Textbox(interactive=True), gr.Button(interactive=True)


def stop(case: Case | None) -> None:
    """Stop the answer that is being given."""
    if case is not None:
        case.stopping.set()


def build(model: DfaGpt, name: str) -> gr.Blocks:
    """Lay out the page of a model; `name` is the folder or Hub id that it came from."""
    page = Page(model, name)
    queued: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
    with gr.Blocks(title="DFA-GPT", analytics_enabled=False, delete_cache=(60, FILES_KEPT)) as blocks:
        case, pending = gr.State(None, time_to_live=SESSION_KEPT), gr.State("")
        gr.HTML(ABOUT)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(label="A picture with a face", sources=["upload", "clipboard", "webcam"],
                                  type="filepath", height=260, buttons=["fullscreen"])  # fmt: skip
                overview = gr.HTML(visible=False)
                choice = gr.Radio(label="Which face?", visible=False)
                verdict = gr.HTML()
                report = gr.Button("Report")
            with gr.Column(scale=3, min_width=300):
                face = gr.HTML()
        chat = gr.Chatbot(label="Conversation", render_markdown=False, sanitize_html=True, allow_tags=False,
                          latex_delimiters=[], buttons=[], feedback_options=None, height=420,
                          placeholder="What is said about the face appears here.")  # fmt: skip
        with gr.Row():
            suggested = [gr.Button(size="sm", visible=False) for _ in SUGGESTED]
        question = gr.Textbox(label="Your question", placeholder="Ask about the face", max_length=LONGEST_QUESTION)
        with gr.Row():
            ask = gr.Button("Ask", variant="primary", min_width=110)
            halt = gr.Button("Stop", variant="stop", min_width=110)
            again, clear = gr.Button("Ask again", min_width=110), gr.Button("Clear", min_width=110)
        html = gr.Textbox(visible="hidden")

        outputs = [case, picture, overview, choice, verdict, face, chat, *suggested]
        # The file as it was sent: Gradio's own preprocessing would decode it before its size is looked at.
        picture.input(page.begin, picture, outputs, preprocess=False, trigger_mode="always_last", **queued)
        choice.input(page.choose, [case, choice], outputs, trigger_mode="always_last", **queued)
        for trigger in (ask.click, question.submit):
            typed = trigger(take, question, [question, ask, pending], queue=False, api_visibility="private")
            answered = typed.then(page.ask, [case, pending], chat, **queued)
            answered.then(take_more, None, [question, ask], queue=False, api_visibility="private")
        for button in suggested:
            button.click(page.ask, [case, button], chat, **queued)
        again.click(page.ask_again, case, chat, **queued)
        for trigger in (clear.click, chat.clear):
            trigger(page.clear, case, chat, **queued)
        for trigger in (halt.click, clear.click, picture.input):
            trigger(stop, case, None, queue=False, api_visibility="private")
        report.click(page.report, case, html, api_name="report").then(None, html, None, js=DOWNLOAD)

        with gr.Row(visible=False):  # what the API's functions take and give
            given, number = gr.Image(label="picture", type="filepath"), gr.Number(None, label="face", precision=0)
            known, asked, answer = gr.JSON(label="analysis"), gr.Textbox(label="question"), gr.Textbox(label="answer")
            api = {**queued, "api_visibility": "public"}
            gr.Button().click(page.analyze, [given, number], [case, known], preprocess=False,
                              api_name="analyze", **api)  # fmt: skip
            gr.Button().click(page.chat, [case, asked], answer, api_name="chat", **api)
    return blocks.queue(max_size=None)


def launch(blocks: gr.Blocks, host: str, port: int | None, auth: tuple[str, str] | None) -> str:
    """Serve a page from a thread of its own; return its address.

    Raises:
        OSError: the port is taken.
    """
    _, address, _ = blocks.launch(
        server_name=host,
        server_port=port,
        auth=auth,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=LARGEST_FILE,
        state_session_capacity=1000,
        app_kwargs={"middleware": [Middleware(Guard)]},
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        head=f"<style>{style()}</style>",
    )
    return str(address)


def serve(name: str, host: str, port: int | None, auth: tuple[str, str] | None) -> None:
    """Load a model and serve its page until it is interrupted; uploads are deleted then.

    Raises:
        OSError, ValueError: the model cannot be loaded, or the port is taken.
    """
    model = DfaGpt.from_pretrained(name)
    if warning := model.calibration.warning():
        print(warning)
    if host not in LOOPBACK and auth is None:
        print(f"{host} may be reached from other machines, and no --auth is set: anybody there can use it.",
              file=sys.stderr)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="dfa-gpt-app-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        blocks = build(model, name)
        print(f"DFA-GPT answers at {launch(blocks, host, port, auth)} (Ctrl+C ends it)", flush=True)
        try:
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)
