"""The page, and its API, by Gradio.

A picture goes in by file, paste or camera, a video by file; the answers are `modeling_dfa_gpt.app.case`'s. The same
from a program:

    from gradio_client import Client, handle_file

    client = Client("http://127.0.0.1:7860")
    client.predict(handle_file("face.png"), None, api_name="/analyze")  # a dictionary, as `dfa-gpt analyze --json`
    client.predict("What gives it away?", api_name="/chat")  # talks on about that picture
    client.predict(api_name="/report")  # HTML; "/report_pdf": PDF in base64

A client is a session: `/chat` and the reports are about the picture that it gave last. The second argument of
`/analyze` is the number of a face, from left to right, where there are several. `client.submit` streams an answer.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from dfa_instruct.sources.files import VIDEO_EXTENSIONS
from modeling_dfa_gpt.app.case import LONGEST_QUESTION, SUGGESTED
from modeling_dfa_gpt.app.drawing import TEMPLATES
from modeling_dfa_gpt.app.guard import Guard
from modeling_dfa_gpt.app.handlers import Handlers, stop, take, take_more
from modeling_dfa_gpt.app.upload import LARGEST_FILE
from modeling_dfa_gpt.dfa_gpt import DfaGpt

FILES_KEPT = 900
"""Seconds that an upload is on disk at most; one that is refused goes at once, and all of them when the app ends."""
SESSION_KEPT = 3600
"""Seconds without a word, after which a case is forgotten."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DOWNLOAD = """(content) => {{
    if (!content) return;
    const link = document.createElement("a");
    const bytes = {bytes};
    link.href = URL.createObjectURL(new Blob([bytes], {{type: "{type}"}}));
    link.download = "face-analysis.{end}";
    link.click();
}}"""
DOWNLOAD_HTML = DOWNLOAD.format(bytes="content", type="text/html", end="html")
DOWNLOAD_PDF = DOWNLOAD.format(
    bytes="Uint8Array.from(atob(content), (c) => c.charCodeAt(0))", type="application/pdf", end="pdf"
)
ABOUT = """<h1>DFA-GPT</h1><p>Is this face forged, how, and what gives it away? Put in a picture or a video of a face
that you have the right to use. It stays on the machine that serves this page and is deleted. The answers are a model's:
they point at where to look, and prove nothing.</p>"""
VIDEO = f"A video with a face, at most {LARGEST_FILE / 1e6:.0f} MB"
CAMERA = """<div class="dfa"><p class="notice" role="alert" id="camera" hidden>The camera cannot be used: it was denied,
there is none, or another program has it. A file or the clipboard will do.</p></div>"""


def build(model: DfaGpt, name: str) -> gr.Blocks:
    """Lay out the page of a model; `name` is the folder or Hub id that it came from."""
    page = Handlers(model, name)
    queued: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
    with gr.Blocks(title="DFA-GPT", analytics_enabled=False, delete_cache=(60, FILES_KEPT)) as blocks:
        case, frames = gr.State(None, time_to_live=SESSION_KEPT), gr.State([], time_to_live=SESSION_KEPT)
        pending = gr.State("")
        gr.HTML(ABOUT)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                with gr.Tab("Picture"):
                    picture = gr.Image(label="A picture with a face", sources=["upload", "clipboard", "webcam"],
                                      type="filepath", height=260, buttons=["fullscreen"])  # fmt: skip
                    gr.HTML(CAMERA)
                    overview = gr.HTML(visible=False)
                    choice = gr.Radio(label="Which face?", visible=False)
                with gr.Tab("Video"):
                    video = gr.File(label=VIDEO, file_types=sorted(VIDEO_EXTENSIONS), height=120)
                    timeline = gr.HTML()
                    moment = gr.Radio(label="Which frame? The most probably forged one first", visible=False)
                verdict = gr.HTML()
                _add_reports(page, case)
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
        with gr.Accordion("Compare with a picture that you trust", open=False):
            reference = gr.Image(label="The reference", sources=["upload", "clipboard"], type="filepath", height=200,
                                 buttons=[])  # fmt: skip
            comparison = gr.HTML()

        outputs = [case, picture, overview, choice, verdict, face, chat, reference, comparison, *suggested]
        # The file as it was sent: Gradio's own preprocessing would decode it before its size is looked at.
        picture.input(page.begin, picture, outputs, preprocess=False, trigger_mode="always_last", **queued)
        choice.input(page.choose, [case, choice], outputs, trigger_mode="always_last", **queued)
        video.upload(page.watch, video, [frames, timeline, moment], preprocess=False, **queued)
        moment.input(page.choose_frame, [frames, moment], outputs, trigger_mode="always_last", **queued)
        reference.input(page.compare, [case, reference], comparison, preprocess=False, **queued)
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
        _add_api(page, case, {**queued, "api_visibility": "public"})
    return blocks.queue(max_size=None)


def _add_reports(page: Handlers, case: gr.State) -> None:
    """Add the buttons of the reports, which are handed to the browser as text and saved there."""
    with gr.Row():
        html, pdf = gr.Button("Report"), gr.Button("Report as PDF")
    text, coded = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
    html.click(page.report, case, text, api_name="report").then(None, text, None, js=DOWNLOAD_HTML)
    pdf.click(page.report_pdf, case, coded, api_name="report_pdf").then(None, coded, None, js=DOWNLOAD_PDF)


def _add_api(page: Handlers, case: gr.State, queued: dict[str, Any]) -> None:
    """Add `/analyze` and `/chat`, with components that are not shown for what they take and give."""
    with gr.Row(visible=False):
        given, number = gr.Image(label="picture", type="filepath"), gr.Number(None, label="face", precision=0)
        known, asked, answer = gr.JSON(label="analysis"), gr.Textbox(label="question"), gr.Textbox(label="answer")
        taken, shown = [given, number], [case, known]
        gr.Button().click(page.analyze, taken, shown, preprocess=False, api_name="analyze", **queued)
        gr.Button().click(page.chat, [case, asked], answer, api_name="chat", **queued)


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
        head=TEMPLATES.get_template("head.html.jinja").render(),
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
