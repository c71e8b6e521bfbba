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
import signal
import sys
from html import escape
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from dfa_instruct.sources.walk import VIDEO_EXTENSIONS
from modeling_dfa_gpt.app.case import LONGEST_QUESTION
from modeling_dfa_gpt.app.drawing import TEMPLATES
from modeling_dfa_gpt.app.guard import Guard
from modeling_dfa_gpt.app.handlers import SUGGESTIONS, Handlers, stop
from modeling_dfa_gpt.app.storage import sweeping, upload_folder
from modeling_dfa_gpt.app.upload import LARGEST_FILE
from modeling_dfa_gpt.dfa_gpt import DfaGpt

SESSION_KEPT = 3600
"""Seconds without a word, after which a case is forgotten."""
LIVE = "element.setAttribute('aria-live', 'polite')"
"""JavaScript by which a screen reader says what changes in an element."""
TAKE = "(typed) => ['', typed]"
"""JavaScript that empties the line for questions and hands on what was typed; the line can be typed in all the time."""
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
    with gr.Blocks(title="DFA-GPT", analytics_enabled=False) as blocks:
        case, frames = gr.State(None, time_to_live=SESSION_KEPT), gr.State([], time_to_live=SESSION_KEPT)
        gr.HTML(f"{ABOUT}<p>{escape(model.calibration.training_data())}</p>")
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
                    timeline = gr.HTML(js_on_load=LIVE)
                    moment = gr.Radio(label="Which frame? The highest probability of a forgery first", visible=False)
                verdict = gr.HTML(js_on_load=LIVE)
                with gr.Row():
                    html, pdf = (gr.Button(name, interactive=False) for name in ("Report", "Report as PDF"))
            with gr.Column(scale=3, min_width=300):
                face = gr.HTML()
        chat = gr.Chatbot(label="Conversation", render_markdown=False, sanitize_html=True, allow_tags=False,
                          latex_delimiters=[], buttons=[], feedback_options=None, height=420,
                          placeholder="What is said about the face appears here.")  # fmt: skip
        with gr.Row():
            suggested = [gr.Button(size="sm", visible=False) for _ in range(SUGGESTIONS)]
        question = gr.Textbox(label="Your question", placeholder="Ask about the face", max_length=LONGEST_QUESTION,
                              interactive=False)  # fmt: skip
        with gr.Row():
            ask = gr.Button("Ask", variant="primary", min_width=110, interactive=False)
            halt = gr.Button("Stop", variant="stop", min_width=110, interactive=False)
            again, clear = (gr.Button(name, min_width=110, interactive=False) for name in ("Ask again", "Clear"))
        with gr.Accordion("Compare with a picture that you trust", open=False):
            reference = gr.Image(label="The reference", sources=["upload", "clipboard"], type="filepath", height=200,
                                 buttons=[])  # fmt: skip
            comparison = gr.HTML(js_on_load=LIVE)
        typed, text, coded = (gr.Textbox(visible="hidden") for _ in range(3))

        given = [picture, video, frames, timeline, moment, overview, choice]
        controls = [question, ask, halt, again, clear, html, pdf]
        about = [case, verdict, face, chat, reference, comparison, *suggested, *controls]
        # What is done later waits for what was done before; so the answer or analysis that goes on is stopped first.
        stopping = (picture.input, video.upload, video.clear, choice.input, moment.input, halt.click, clear.click,
                    chat.clear)  # fmt: skip
        gr.on(stopping, stop, case, None, queue=False, api_visibility="private", trigger_mode="multiple")
        # Gradio writes where a visitor stands in the queue over the components that are named for it.
        of_picture: dict[str, Any] = {"trigger_mode": "always_last", "show_progress_on": picture, **queued}
        of_video = {**of_picture, "show_progress_on": video}
        # The file as it was sent: Gradio's own preprocessing would decode it before its size is looked at.
        picture.input(page.begin, picture, given + about, preprocess=False, **of_picture)
        choice.input(page.choose, [case, choice], about, **of_picture)
        gr.on((video.upload, video.clear), page.watch, video, given + about, preprocess=False, **of_video)
        moment.input(page.choose_frame, [frames, moment], about, **of_video)
        reference.input(page.compare, [case, reference], comparison, preprocess=False, show_progress_on=reference,
                        **queued)  # fmt: skip
        every: dict[str, Any] = {"trigger_mode": "multiple", **queued}
        for trigger in (ask.click, question.submit):
            taken = trigger(None, question, [question, typed], js=TAKE, trigger_mode="multiple")
            taken.then(page.ask, [case, typed], chat, **every)
        for button in suggested:
            button.click(page.ask, [case, button], chat, **every)
        again.click(page.ask_again, case, chat, **queued)
        gr.on((clear.click, chat.clear), page.clear, case, chat, **queued)
        # Reports are handed to the browser as text and saved there.
        html.click(page.report, [case, frames], text, api_name="report").then(None, text, None, js=DOWNLOAD_HTML)
        pdf.click(page.report_pdf, [case, frames], coded, api_name="report_pdf").then(
            None, coded, None, js=DOWNLOAD_PDF
        )
        _add_api(page, case, {**queued, "api_visibility": "public"})
    return blocks.queue(max_size=None)


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
        app_kwargs={"middleware": [Middleware(Guard, host)], "lifespan": sweeping},
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        head=TEMPLATES.get_template("head.html.jinja").render(),
    )
    return str(address)


def serve(name: str, host: str, port: int | None, auth: tuple[str, str] | None) -> None:
    """Load a model and serve its page until it is interrupted or ended; uploads are deleted then.

    Raises:
        OSError, ValueError: the model cannot be loaded, or the port is taken.
    """
    model = DfaGpt.from_pretrained(name)
    if warning := model.calibration.warning():
        print(warning)
    if host not in LOOPBACK and auth is None:
        print(f"{host} may be reached from other machines, and no --auth is set: anybody there can use it.",
              file=sys.stderr)  # fmt: skip
    with upload_folder() as uploads:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, _end)
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        blocks = build(model, name)
        print(f"DFA-GPT answers at {launch(blocks, host, port, auth)} (Ctrl+C ends it)", flush=True)
        try:
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)


def _end(number: int, _: Any) -> None:
    """Leave by the way on which uploads are deleted; a second signal does not interrupt that."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
