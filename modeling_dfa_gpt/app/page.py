"""The web page and its API, built with Gradio.

A visitor gives a picture (a file, the clipboard or the camera) or a video; `modeling_dfa_gpt.app.case` analyses it and
answers questions. A program does the same through the API:

    from gradio_client import Client, handle_file

    client = Client("http://127.0.0.1:7860")
    client.predict(handle_file("face.png"), None, api_name="/analyze")  # a dictionary, as `dfa-gpt analyze --json`
    client.predict("What gives it away?", api_name="/chat")  # a question about that picture
    client.predict(api_name="/report")  # HTML; a browser prints it or saves it as a PDF

Each client has its own session: `/chat` and `/report` are about the last picture that it sent. If the picture shows
several faces, the second argument of `/analyze` is the number of one, from left to right. `client.submit` streams an
answer. `chromium --headless --print-to-pdf report.html` converts a report to a PDF without a window.
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
from modeling_dfa_gpt.app.case import MAX_QUESTION_LENGTH
from modeling_dfa_gpt.app.drawing import TEMPLATES
from modeling_dfa_gpt.app.guard import Guard
from modeling_dfa_gpt.app.handlers import SUGGESTIONS, Handlers, stop
from modeling_dfa_gpt.app.storage import sweeping, upload_folder
from modeling_dfa_gpt.app.upload import MAX_FILE_BYTES
from modeling_dfa_gpt.dfa_gpt import DfaGpt

SESSION_SECONDS = 3600
"""Seconds without an event after which a case is deleted."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANNOUNCE_JS = "element.setAttribute('aria-live', 'polite')"
"""Lets screen readers announce the changes of an element."""
TAKE_QUESTION_JS = "(typed) => ['', typed]"
"""Empties the question field and passes the question on, so that a visitor can type the next one at any time."""
DOWNLOAD_JS = """(report) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([report], {type: "text/html"}));
    link.download = "face-analysis.html";
    link.click();
}"""
PRINT_JS = """(report) => {
    document.getElementById("printed-report")?.remove();
    const frame = document.createElement("iframe");
    frame.id = "printed-report";
    frame.sandbox = "allow-same-origin allow-modals";  // no scripts
    frame.style = "position: fixed; width: 0; height: 0; border: 0";
    frame.tabIndex = -1;
    frame.onload = () => frame.contentWindow.print();
    frame.srcdoc = report;
    document.body.append(frame);
}"""
"""Prints the report from a hidden frame. The browser's print dialog also saves it as a PDF."""
ABOUT = """<h1>DFA-GPT</h1><p>Is this face forged, how, and what gives it away? Upload a picture or a video of a face
that you have the right to use. It stays on the machine that serves this page, and is deleted after some minutes. The
answers come from a model: they point out where to look, and prove nothing.</p>"""
VIDEO = f"A video with a face, at most {MAX_FILE_BYTES / 1e6:.0f} MB"
CAMERA = """<div class="dfa"><p class="notice" role="alert" id="camera" hidden>The camera cannot be used: access was
denied, there is no camera, or another program uses it. Upload a file or paste a picture instead.</p></div>"""


def build(model: DfaGpt, name: str) -> gr.Blocks:
    """Build the page of a model.

    Args:
        model: The model.
        name: The folder or Hub id from which the model was loaded.
    """
    page = Handlers(model, name)
    queued: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
    with gr.Blocks(title="DFA-GPT", analytics_enabled=False) as blocks:
        case, frames = gr.State(None, time_to_live=SESSION_SECONDS), gr.State([], time_to_live=SESSION_SECONDS)
        gr.HTML(f"{ABOUT}<p>{escape(model.calibration.training_data())}</p>")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                with gr.Tab("Picture"):
                    picture = gr.Image(label="A picture with a face", sources=["upload", "clipboard", "webcam"],
                                      type="filepath", height=260, buttons=["fullscreen"])  # fmt: skip
                    gr.HTML(CAMERA)
                    overview = gr.HTML(visible=False)
                    face_choice = gr.Radio(label="Which face?", visible=False)
                with gr.Tab("Video"):
                    video = gr.File(label=VIDEO, file_types=sorted(VIDEO_EXTENSIONS), height=120)
                    timeline = gr.HTML(js_on_load=ANNOUNCE_JS)
                    frame_choice = gr.Radio(label="Which frame? The highest probability of a forgery comes first",
                                            visible=False)  # fmt: skip
                verdict = gr.HTML(js_on_load=ANNOUNCE_JS)
                with gr.Row():
                    download = gr.Button("Download report", interactive=False)
                    print_report = gr.Button("Print or save as PDF", interactive=False)
            with gr.Column(scale=3, min_width=300):
                face = gr.HTML()
        chat = gr.Chatbot(label="Conversation", render_markdown=False, sanitize_html=True, allow_tags=False,
                          latex_delimiters=[], buttons=[], feedback_options=None, height=420,
                          placeholder="The conversation about the face appears here.")  # fmt: skip
        with gr.Row():
            suggested = [gr.Button(size="sm", visible=False) for _ in range(SUGGESTIONS)]
        question = gr.Textbox(label="Your question", placeholder="Ask about the face", max_length=MAX_QUESTION_LENGTH,
                              interactive=False, elem_id="question")  # fmt: skip
        with gr.Row():
            ask = gr.Button("Ask", variant="primary", min_width=110, interactive=False)
            halt = gr.Button("Stop", variant="stop", min_width=110, interactive=False)
            again, clear = (gr.Button(name, min_width=110, interactive=False) for name in ("Ask again", "Clear"))
        with gr.Accordion("Compare with a picture that you trust", open=False):
            reference = gr.Image(label="The reference", sources=["upload", "clipboard"], type="filepath", height=200,
                                 buttons=[])  # fmt: skip
            comparison = gr.HTML(js_on_load=ANNOUNCE_JS)
        taken_question, report = (gr.Textbox(visible="hidden") for _ in range(2))

        media = [picture, video, frames, timeline, frame_choice, overview, face_choice]
        controls = [question, ask, halt, again, clear, download, print_report]
        about = [case, verdict, face, chat, reference, comparison, *suggested, *controls]
        # Events wait in a queue, so the answer or analysis that is running is stopped first.
        stopping = (picture.input, video.upload, video.clear, face_choice.input, frame_choice.input, halt.click,
                    clear.click, chat.clear)  # fmt: skip
        gr.on(stopping, stop, case, None, queue=False, api_visibility="private", trigger_mode="multiple")
        # Gradio shows the visitor's place in the queue on top of the component `show_progress_on`.
        on_picture: dict[str, Any] = {"trigger_mode": "always_last", "show_progress_on": picture, **queued}
        on_video = {**on_picture, "show_progress_on": video}
        # Without preprocessing: Gradio would decode the file before its size is checked.
        picture.input(page.open_picture, picture, media + about, preprocess=False, **on_picture)
        face_choice.input(page.choose_face, [case, face_choice], about, **on_picture)
        gr.on((video.upload, video.clear), page.open_video, video, media + about, preprocess=False, **on_video)
        frame_choice.input(page.choose_frame, [frames, frame_choice], about, **on_video)
        reference.input(page.compare, [case, reference], comparison, preprocess=False, show_progress_on=reference,
                        **queued)  # fmt: skip
        every: dict[str, Any] = {"trigger_mode": "multiple", **queued}
        for trigger in (ask.click, question.submit):
            taken = trigger(None, question, [question, taken_question], js=TAKE_QUESTION_JS, trigger_mode="multiple")
            taken.then(page.ask, [case, taken_question], chat, **every)
        for button in suggested:
            button.click(page.ask, [case, button], chat, **every)
        again.click(page.ask_again, case, chat, **queued)
        gr.on((clear.click, chat.clear), page.clear, case, chat, **queued)
        # The browser receives the report as text, so the server stores no file.
        inputs = [case, frames]
        download.click(page.report, inputs, report, api_name="report").success(None, report, None, js=DOWNLOAD_JS)
        print_report.click(page.report, inputs, report, api_visibility="private").success(
            None, report, None, js=PRINT_JS
        )
        _add_api(page, case, {**queued, "api_visibility": "public"})
    return blocks.queue(max_size=None)


def _add_api(page: Handlers, case: gr.State, queued: dict[str, Any]) -> None:
    """Add `/analyze` and `/chat`, which need invisible components for their inputs and outputs."""
    with gr.Row(visible=False):
        picture, number = gr.Image(label="picture", type="filepath"), gr.Number(None, label="face", precision=0)
        analysis, question, answer = gr.JSON(label="analysis"), gr.Textbox(label="question"), gr.Textbox(label="answer")
        inputs, outputs = [picture, number], [case, analysis]
        gr.Button().click(page.analyze, inputs, outputs, preprocess=False, api_name="analyze", **queued)
        gr.Button().click(page.chat, [case, question], answer, api_name="chat", **queued)


def launch(blocks: gr.Blocks, host: str, port: int | None, auth: tuple[str, str] | None) -> str:
    """Serve a page from another thread and return its address.

    Raises:
        OSError: The port is in use.
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
        max_file_size=MAX_FILE_BYTES,
        state_session_capacity=1000,
        app_kwargs={"middleware": [Middleware(Guard, host)], "lifespan": sweeping},
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        head=TEMPLATES.get_template("head.html.jinja").render(),
    )
    return str(address)


def serve(name: str, host: str, port: int | None, auth: tuple[str, str] | None) -> None:
    """Load a model and serve its page until the process is interrupted or terminated. Then delete all uploads.

    Args:
        name: The model's folder or Hub id.
        host: The name or address to listen on.
        port: The port, or None for the first free one from 7860.
        auth: The user name and the password that the page asks for.

    Raises:
        OSError, ValueError: The model cannot be loaded, or the port is in use.
    """
    model = DfaGpt.from_pretrained(name)
    if warning := model.calibration.warning():
        print(warning)
    if host not in LOOPBACK and auth is None:
        print(f"Other machines may reach {host}, and --auth is not set: anybody there can use the page.",
              file=sys.stderr)  # fmt: skip
    with upload_folder() as uploads:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, _exit)
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        blocks = build(model, name)
        print(f"DFA-GPT answers at {launch(blocks, host, port, auth)} (press Ctrl+C to stop it)", flush=True)
        try:
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)


def _exit(number: int, _: Any) -> None:
    """Exit in the regular way, so that uploads are deleted. Ignore the same signal while that happens."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
