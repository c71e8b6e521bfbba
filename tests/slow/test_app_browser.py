"""The page in a browser: what a person does, on a screen and on a phone."""

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

import av
import numpy as np
import pytest
from PIL import Image

from dfa_instruct.sources.portraits.drawing import draw_sample

playwright = pytest.importorskip("playwright.sync_api")

EVIL = '<img src="x" onerror="window.evil = 1"> ![](http://example.org/x.png) **And the eyes?**'
SLOW = "Slowly, please?"
"""A question whose answer takes a quarter of an hour, unless it is stopped."""
PATIENCE = 300_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def address(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from modeling_dfa_gpt.app.page import build, launch
    from modeling_dfa_gpt.conversation import Conversation
    from modeling_dfa_gpt.dfa_gpt import DfaGpt

    stream = Conversation.stream

    def told_slowly(conversation: Conversation, question: str, begin: str = "") -> Iterator[str]:
        if question != SLOW:
            yield from stream(conversation, question, begin)
            return
        for number in range(10_000):
            time.sleep(0.1)
            yield f"{number} "

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        patch.setattr(Conversation, "stream", told_slowly)
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


def give(page: Any, address: str, picture: Path) -> list[str]:
    """Open the page, put a picture in, wait for the whole analysis; return what was fetched from elsewhere."""
    elsewhere: list[str] = []
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else elsewhere.append(r.url))
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(picture)
    page.locator(".dfa .verdict").wait_for()
    page.get_by_text("Describe the artifacts in this face.").wait_for()
    return elsewhere


def ask(page: Any, question: str) -> None:
    """Type a question, press Enter, wait for the answer."""
    said = page.locator(".message.bot").count()
    line = page.get_by_label("Your question")
    line.fill(question)
    line.press("Enter")
    playwright.expect(page.locator(".message.bot")).to_have_count(said + 1, timeout=PATIENCE)
    page.locator(".message", has_text=question).first.wait_for()


def test_a_person_looks_talks_and_takes_the_report(browser: Any, address: str, portrait: Path, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    elsewhere = give(page, address, portrait)
    before = page.locator(".message").count()
    for question in (EVIL, "How sure are you?", "What gives it away?"):
        ask(page, question)
    playwright.expect(page.locator(".message")).to_have_count(2 * before)  # three turns were there, three have come
    assert page.get_by_text("**And the eyes?**").count()  # as it was typed
    assert page.evaluate("window.evil") is None and page.locator("img[src='x'], img[src*='example']").count() == 0
    for button, name in (("Report", "report.html"), ("Report as PDF", "report.pdf")):
        with page.expect_download() as download:
            page.get_by_role("button", name=button, exact=True).last.click()
        download.value.save_as(tmp_path / name)
    report = (tmp_path / "report.html").read_text()
    assert "SHA-256" in report and "onerror=&#34;" in report and "How sure are you?" in report
    page.goto(f"file://{tmp_path / 'report.html'}")
    assert page.get_by_role("heading", name="Limits of the method").count() == 1
    assert page.evaluate("window.evil") is None
    assert [url for url in elsewhere if not url.startswith("file:")] == []
    page.close()
    if shutil.which("pdftoppm"):
        subprocess.run(["pdftoppm", "-r", "50", "-png", tmp_path / "report.pdf", tmp_path / "page"], check=True)
        pages = [np.asarray(Image.open(path).convert("L")) for path in sorted(tmp_path.glob("page-*.png"))]
        assert len(pages) >= 2 and all((page < 128).sum() > 500 for page in pages)  # something is written on each


def test_an_answer_is_stopped_and_the_conversation_goes_on(browser: Any, address: str, portrait: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    give(page, address, portrait)
    page.get_by_label("Your question").fill(SLOW)
    page.get_by_label("Your question").press("Enter")
    page.get_by_text("0 1 2").wait_for()  # it is streamed
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("[stopped; it is not remembered]").wait_for()
    ask(page, "And the eyes?")
    page.close()


@pytest.mark.parametrize("button", ["Clear", None])
def test_what_is_done_next_does_not_wait_for_the_answer(
    browser: Any, address: str, portrait: Path, button: str | None
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    give(page, address, portrait)
    page.get_by_label("Your question").fill(SLOW)
    page.get_by_label("Your question").press("Enter")
    page.get_by_text("0 1 2").wait_for()
    if button:
        page.get_by_role("button", name=button, exact=True).last.click()
        playwright.expect(page.locator(".message")).to_have_count(0, timeout=PATIENCE)
    else:
        page.get_by_label("Remove Image").click()
        page.locator("input[type=file]").first.set_input_files(portrait)
        playwright.expect(page.locator(".message.bot")).to_have_count(3, timeout=PATIENCE)
    page.close()


def test_questions_are_typed_on_and_none_is_lost(browser: Any, address: str, portrait: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    give(page, address, portrait)
    questions = ("How sure are you?", "And the eyes?", "What should I do next?")
    page.get_by_label("Your question").focus()
    for question in questions:  # without waiting for an answer, and without looking for the line again
        page.keyboard.type(question)
        page.keyboard.press("Enter")
    playwright.expect(page.locator(".message.bot")).to_have_count(6, timeout=PATIENCE)
    for question in questions:
        assert page.locator(".message.user", has_text=question).count() == 1
    assert page.evaluate("document.activeElement.placeholder") == "Ask about the face"
    page.close()


def test_a_screen_reader_is_told_the_verdict(browser: Any, address: str, portrait: Path) -> None:
    page = browser.new_page()
    page.goto(address)
    page.get_by_label("Your question").wait_for()
    live = page.locator("[aria-live=polite]")
    before = live.count()  # a region that comes with its text is not read out
    give(page, address, portrait)
    assert page.locator("[aria-live=polite] .verdict strong").count() == 1 and live.count() == before >= 3
    page.close()


def test_where_one_stands_in_the_queue_covers_no_button(browser: Any, address: str, portrait: Path) -> None:
    talking, page = (browser.new_page(viewport={"width": width, "height": 1000}) for width in (1280, 390))
    give(talking, address, portrait)
    talking.get_by_label("Your question").fill(SLOW)
    talking.get_by_label("Your question").press("Enter")
    talking.get_by_text("0 1 2").wait_for()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(portrait)
    place = page.get_by_text("queue: ").first
    place.wait_for()
    x, y, width, height = (place.bounding_box()[key] for key in ("x", "y", "width", "height"))
    for name in ("Ask", "Stop", "Ask again", "Clear", "Report", "Report as PDF"):
        button = page.get_by_role("button", name=name, exact=True).last.bounding_box()
        beside = x + width <= button["x"] or button["x"] + button["width"] <= x
        assert beside or y + height <= button["y"] or button["y"] + button["height"] <= y, name
    talking.get_by_role("button", name="Stop").click()
    page.locator(".dfa .verdict").wait_for()
    page.close()
    talking.close()


def test_another_site_neither_sends_a_file_nor_shows_the_page_in_a_frame(
    browser: Any, address: str, portrait: Path, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text(
        f'''<form action="{address}gradio_api/upload" method="post" enctype="multipart/form-data" target="answer">
        <input type="file" name="files"/><button>Send</button></form>
        <iframe name="answer"></iframe><iframe id="framed" src="{address}"></iframe>'''
    )
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{other.server_port}/")
        page.locator("input[type=file]").set_input_files(portrait)
        with page.expect_response(lambda response: "upload" in response.url) as answer:
            page.get_by_role("button", name="Send").click()
        assert answer.value.status == 403
        assert page.query_selector("#framed").content_frame().url.startswith("chrome-error:")
        page.close()
        other.shutdown()


def test_without_a_mouse_everything_is_reached(browser: Any, address: str, portrait: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    give(page, address, portrait)
    page.locator("body").focus()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        named = (
            "document.activeElement.ariaLabel || document.activeElement.innerText || document.activeElement.placeholder"
        )
        reached.append(page.evaluate(named).strip())
    for name in (
        "Video",
        "Upload file",
        "Capture from camera",
        "Report",
        "Report as PDF",
        "Ask about the face",
        "Stop",
    ):
        assert name in reached, name
    assert any("Compare" in name for name in reached)
    page.close()


def test_a_camera_that_is_denied_leaves_the_other_ways(browser: Any, address: str, portrait: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_label("Capture from camera").first.click()
    assert not page.get_by_text("The camera cannot be used").is_visible()
    page.get_by_text("Click to Access Webcam").click()
    page.get_by_text("The camera cannot be used").wait_for()
    page.get_by_label("Upload file").first.click()
    page.locator("input[type=file]").first.set_input_files(portrait)
    page.locator(".dfa .verdict").wait_for()
    page.close()


def test_a_video_shows_its_timeline_and_a_frame_of_it_is_opened(
    browser: Any, address: str, photos: Path, tmp_path: Path
) -> None:
    photo = np.asarray(Image.open(sorted(photos.glob("*.jpg"))[0]).convert("RGB").resize((320, 320)))
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(photo, format="rgb24")))
        container.mux(stream.encode(None))
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_role("tab", name="Video").click()
    page.locator("input[type=file][accept*='.mp4']").set_input_files(tmp_path / "clip.mp4")
    page.get_by_text("Which frame?").wait_for()
    assert page.locator("svg.timeline rect").count() == 3 and page.locator(".frames figure").count() == 3
    assert page.get_by_role("button", name="Report", exact=True).is_disabled()
    page.get_by_role("radio").first.check()
    page.get_by_text("Describe the artifacts in this face.").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Report", exact=True).click()
    download.value.save_as(tmp_path / "report.html")
    assert 'class="timeline"' in (tmp_path / "report.html").read_text()
    page.close()


def test_pointing_at_a_sentence_shows_its_region(browser: Any, address: str, photos: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    give(page, address, sorted(photos.glob("*.jpg"))[0])
    shape = page.locator(".dfa .shape[data-region=eyes] polygon").first
    quiet = shape.evaluate("shape => getComputedStyle(shape).fill")
    page.evaluate("""() => document.querySelector('.dfa ol').insertAdjacentHTML(
        'beforeend', '<li data-region="eyes" tabindex="0">The eyes.</li>')""")
    page.locator(".dfa li[data-region=eyes]").last.hover()
    assert shape.evaluate("shape => getComputedStyle(shape).fill") != quiet
    page.mouse.move(0, 0)
    page.locator(".dfa li[data-region=eyes]").last.focus()  # by the keyboard, too
    assert shape.evaluate("shape => getComputedStyle(shape).fill") != quiet
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (640, "light")])
def test_a_phone_and_a_screen_at_200_percent_show_all_of_it(
    browser: Any, address: str, portrait: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    give(page, address, portrait)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("Ask", "Stop", "Ask again", "Clear", "Report", "Report as PDF"):
        page.get_by_role("button", name=name, exact=True).last.scroll_into_view_if_needed()
    page.close()


def test_what_is_no_picture_gets_its_sentence(browser: Any, address: str, tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(b"<html><script>window.evil = 1</script></html>")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "face.jpg")
    page.get_by_text("damaged, cut short, or none of JPEG").first.wait_for()
    assert page.evaluate("window.evil") is None and page.locator(".dfa .verdict").count() == 0
    page.close()
