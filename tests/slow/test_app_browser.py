"""The page in a browser, on a screen and on a phone."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from layouts import write_clip
from PIL import Image

from dfa_instruct.sources.portraits.drawing import draw_sample

playwright = pytest.importorskip("playwright.sync_api")

EVIL = '<img src="x" onerror="window.evil = 1"> ![](http://example.org/x.png) **And the eyes?**'
SLOW = "Slowly, please?"
"""A question whose answer takes a quarter of an hour unless it is stopped."""
BUTTONS = ("Ask", "Stop", "Ask again", "Clear", "Download report", "Print or save as PDF")
PATIENCE = 300_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def address(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from modeling_dfa_gpt.app.page import build, launch
    from modeling_dfa_gpt.conversation import Conversation
    from modeling_dfa_gpt.dfa_gpt import DfaGpt

    stream = Conversation.stream

    def slow_stream(conversation: Conversation, question: str, begin: str = "") -> Iterator[str]:
        if question != SLOW:
            yield from stream(conversation, question, begin)
            return
        for number in range(10_000):
            time.sleep(0.1)
            yield f"{number} "

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        patch.setattr(Conversation, "stream", slow_stream)
        blocks = build(DfaGpt.from_pretrained(adapter), str(adapter))
        yield launch(blocks, "127.0.0.1", None, None)
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("face") / "portrait.png"
    Image.fromarray(next(draw_sample(1, 1)).image).save(path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("needs chromium (apt-get install chromium)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=[*flags, "--disable-sync"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty tab."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


def upload(page: Any, address: str, picture: Path) -> list[str]:
    """Open the page, upload a picture and wait for the analysis. Return the URLs of other hosts that were requested."""
    foreign: list[str] = []
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else foreign.append(r.url))
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(picture)
    page.locator(".dfa .verdict").wait_for()
    page.get_by_text("Describe the artifacts in this face.").wait_for()
    return foreign


def ask(page: Any, question: str) -> None:
    """Type a question, press Enter and wait for the answer."""
    answers = page.locator(".message.bot").count()
    page.get_by_label("Your question").fill(question)
    page.get_by_label("Your question").press("Enter")
    playwright.expect(page.locator(".message.bot")).to_have_count(answers + 1, timeout=PATIENCE)
    page.locator(".message", has_text=question).first.wait_for()


def ask_slowly(page: Any) -> None:
    """Ask the slow question and wait for the beginning of its answer."""
    page.get_by_label("Your question").fill(SLOW)
    page.get_by_label("Your question").press("Enter")
    page.get_by_text("0 1 2").wait_for()


def download_report(page: Any, path: Path) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download report").click()
    download.value.save_as(path)
    return path.read_text()


def test_analysis_conversation_and_report(page: Any, address: str, portrait: Path, tmp_path: Path) -> None:
    foreign = upload(page, address, portrait)
    before = page.locator(".message").count()
    for question in (EVIL, "How sure are you?", "What gives it away?"):
        ask(page, question)
    playwright.expect(page.locator(".message")).to_have_count(2 * before)  # three turns before, three new ones
    assert page.get_by_text("**And the eyes?**").count()  # Markdown is not rendered
    assert page.evaluate("window.evil") is None and page.locator("img[src='x'], img[src*='example']").count() == 0
    report = download_report(page, tmp_path / "report.html")
    assert "SHA-256" in report and "onerror=&#34;" in report and "How sure are you?" in report
    page.goto(f"file://{tmp_path / 'report.html'}")
    assert page.get_by_role("heading", name="Limits of the method").count() == 1
    assert page.evaluate("window.evil") is None
    assert [url for url in foreign if not url.startswith("file:")] == []


def test_a_click_on_a_region_writes_a_question_about_it(page: Any, address: str, portrait: Path) -> None:
    upload(page, address, portrait)
    region = page.locator(".dfa svg [data-region=mouth]").first
    region.scroll_into_view_if_needed()
    region.click(force=True)
    question = "Is there an artifact in the mouth?"
    playwright.expect(page.get_by_label("Your question")).to_have_value(question)
    page.keyboard.press("Enter")
    page.locator(".message", has_text=question).first.wait_for()


def test_report_is_printed(page: Any, address: str, portrait: Path) -> None:
    upload(page, address, portrait)
    page.evaluate("""document.addEventListener("load", (event) => event.target.contentWindow?.addEventListener(
        "beforeprint", () => { window.printed = event.target.contentDocument.title; }), true)""")
    page.get_by_role("button", name="Print or save as PDF").click()
    page.wait_for_function("window.printed?.startsWith('Analysis of a face')")
    assert page.frame_locator("#printed-report").get_by_role("heading", name="Limits of the method").count() == 1


def test_printed_report_contains_long_texts(page: Any, portrait: Path, tmp_path: Path) -> None:
    if not shutil.which("pdftotext"):
        pytest.skip("needs pdftotext (apt-get install poppler-utils)")
    from modeling_dfa_gpt.app.case import Case, Turn
    from modeling_dfa_gpt.app.case_report import report_html
    from modeling_dfa_gpt.app.upload import open_upload
    from modeling_dfa_gpt.calibration import Calibration

    turns = [Turn("Why?", "zebra " * 3000, "complete"), Turn("Long?", "x" * 5000, "complete")]
    page.set_content(report_html(Case(open_upload(portrait), [], turns=turns), Calibration(), {}))
    page.pdf(path=tmp_path / "report.pdf")
    command = ["pdftotext", tmp_path / "report.pdf", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text.count("zebra") == 3000 and text.count("x") >= 5000
    assert "page 5 of" in text and "The result must not be the only basis" in text


def test_stopped_answer_does_not_end_the_conversation(page: Any, address: str, portrait: Path) -> None:
    upload(page, address, portrait)
    ask_slowly(page)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("[stopped; it is not remembered]").wait_for()
    ask(page, "And the eyes?")


@pytest.mark.parametrize("button", ["Clear", None])
def test_next_action_does_not_wait_for_the_answer(page: Any, address: str, portrait: Path, button: str | None) -> None:
    upload(page, address, portrait)
    ask_slowly(page)
    if button:
        page.get_by_role("button", name=button, exact=True).last.click()
        playwright.expect(page.locator(".message")).to_have_count(0, timeout=PATIENCE)
    else:
        page.get_by_label("Remove Image").click()
        page.locator("input[type=file]").first.set_input_files(portrait)
        playwright.expect(page.locator(".message.bot")).to_have_count(3, timeout=PATIENCE)


def test_questions_in_quick_succession_are_all_answered(page: Any, address: str, portrait: Path) -> None:
    upload(page, address, portrait)
    questions = ("How sure are you?", "And the eyes?", "What should I do next?")
    page.get_by_label("Your question").focus()
    for question in questions:  # without waiting for an answer or focusing the field again
        page.keyboard.type(question)
        page.keyboard.press("Enter")
    playwright.expect(page.locator(".message.bot")).to_have_count(6, timeout=PATIENCE)
    for question in questions:
        assert page.locator(".message.user", has_text=question).count() == 1
    assert page.evaluate("document.activeElement.placeholder") == "Ask about the face"


def test_screen_readers_announce_the_verdict(page: Any, address: str, portrait: Path) -> None:
    page.goto(address)
    page.get_by_label("Your question").wait_for()
    live = page.locator("[aria-live=polite]")
    before = live.count()  # a region that appears together with its text is not announced
    upload(page, address, portrait)
    assert page.locator("[aria-live=polite] .verdict strong").count() == 1 and live.count() == before >= 3


def test_queue_position_covers_no_button(browser: Any, page: Any, address: str, portrait: Path) -> None:
    upload(page, address, portrait)
    ask_slowly(page)
    waiting = browser.new_page(viewport={"width": 390, "height": 1000})
    waiting.set_default_timeout(PATIENCE)
    waiting.goto(address)
    waiting.locator("input[type=file]").first.set_input_files(portrait)
    position = waiting.get_by_text("queue: ").first
    position.wait_for()
    x, y, width, height = (position.bounding_box()[key] for key in ("x", "y", "width", "height"))
    for name in BUTTONS:
        button = waiting.get_by_role("button", name=name, exact=True).last.bounding_box()
        separate = x + width <= button["x"] or button["x"] + button["width"] <= x
        assert separate or y + height <= button["y"] or button["y"] + button["height"] <= y, name
    page.get_by_role("button", name="Stop").click()
    waiting.locator(".dfa .verdict").wait_for()
    waiting.close()


def test_other_sites_cannot_upload_or_frame_the_page(page: Any, address: str, portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        f'''<form action="{address}gradio_api/upload" method="post" enctype="multipart/form-data" target="answer">
        <input type="file" name="files"/><button>Send</button></form>
        <iframe name="answer"></iframe><iframe id="framed" src="{address}"></iframe>'''
    )
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        page.goto(f"http://localhost:{other.server_port}/")
        page.locator("input[type=file]").set_input_files(portrait)
        with page.expect_response(lambda response: "upload" in response.url) as answer:
            page.get_by_role("button", name="Send").click()
        assert answer.value.status == 403
        assert page.query_selector("#framed").content_frame().url.startswith("chrome-error:")
        other.shutdown()


def test_keyboard_reaches_all_controls(page: Any, address: str, portrait: Path) -> None:
    upload(page, address, portrait)
    page.locator("body").focus()
    reached = []
    name = "document.activeElement.ariaLabel || document.activeElement.innerText || document.activeElement.placeholder"
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(name).strip())
    expected = {"Video", "Upload file", "Capture from camera", "Ask about the face", "Stop", *BUTTONS[-2:]}
    assert expected <= set(reached)
    assert any("Compare" in name for name in reached)


def test_denied_camera_leaves_the_other_inputs(page: Any, address: str, portrait: Path) -> None:
    page.goto(address)
    page.get_by_label("Capture from camera").first.click()
    assert not page.get_by_text("The camera cannot be used").is_visible()
    page.get_by_text("Click to Access Webcam").click()
    page.get_by_text("The camera cannot be used").wait_for()
    page.get_by_label("Upload file").first.click()
    page.locator("input[type=file]").first.set_input_files(portrait)
    page.locator(".dfa .verdict").wait_for()


def test_video_timeline_and_one_of_its_frames(page: Any, address: str, photos: Path, tmp_path: Path) -> None:
    photo = np.asarray(Image.open(sorted(photos.glob("*.jpg"))[0]).convert("RGB").resize((320, 320)))
    clip = write_clip(tmp_path / "clip.mp4", [photo] * 3, rate=2)
    page.goto(address)
    page.get_by_role("tab", name="Video").click()
    page.locator("input[type=file][accept*='.mp4']").set_input_files(clip)
    page.get_by_text("Which frame?").wait_for()
    assert page.locator("svg.timeline rect").count() == 3 and page.locator(".frames figure").count() == 3
    assert page.get_by_role("button", name="Download report").is_disabled()
    page.get_by_role("radio").first.check()
    page.get_by_text("Describe the artifacts in this face.").wait_for()
    assert 'class="timeline"' in download_report(page, tmp_path / "report.html")


def test_pointing_at_a_sentence_highlights_its_region(page: Any, address: str, photos: Path) -> None:
    upload(page, address, sorted(photos.glob("*.jpg"))[0])
    fill = "shape => getComputedStyle(shape).fill"
    shape = page.locator(".dfa .shape[data-region=eyes] polygon").first
    plain = shape.evaluate(fill)
    page.evaluate("""() => document.querySelector('.dfa ol').insertAdjacentHTML(
        'beforeend', '<li data-region="eyes" tabindex="0">The eyes.</li>')""")
    page.locator(".dfa li[data-region=eyes]").last.hover()
    assert shape.evaluate(fill) != plain
    page.mouse.move(0, 0)
    page.locator(".dfa li[data-region=eyes]").last.focus()  # the keyboard does the same
    assert shape.evaluate(fill) != plain


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (640, "light")])
def test_small_screens_need_no_horizontal_scrolling(
    page: Any, address: str, portrait: Path, width: int, scheme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    upload(page, address, portrait)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in BUTTONS:
        page.get_by_role("button", name=name, exact=True).last.scroll_into_view_if_needed()


def test_file_that_is_not_a_picture_is_refused(page: Any, address: str, tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(b"<html><script>window.evil = 1</script></html>")
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "face.jpg")
    page.get_by_text("The file cannot be used").first.wait_for()
    assert page.evaluate("window.evil") is None and page.locator(".dfa .verdict").count() == 0
