"""The page in a browser: what a person does, on a screen and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dfa_instruct.portraits.drawing import draw_sample

playwright = pytest.importorskip("playwright.sync_api")

EVIL = '<img src="x" onerror="window.evil = 1"> ![](http://example.org/x.png) **And the eyes?**'
PATIENCE = 120_000
"""Milliseconds."""


@pytest.fixture(scope="module")
def address(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from modeling_dfa_gpt.app.page import build, launch
    from modeling_dfa_gpt.dfa_gpt import DfaGpt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
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


def test_a_person_looks_talks_and_takes_the_report(browser: Any, address: str, portrait: Path, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    elsewhere = give(page, address, portrait)
    page.get_by_label("Your question").fill(EVIL)
    page.get_by_label("Your question").press("Enter")
    page.get_by_text("**And the eyes?**").wait_for()  # as it was typed
    assert page.evaluate("window.evil") is None and page.locator("img[src='x'], img[src*='example']").count() == 0
    with page.expect_download() as download:
        page.get_by_role("button", name="Report").click()
    download.value.save_as(tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "SHA-256" in report and "onerror=&#34;" in report
    page.goto(f"file://{tmp_path / 'report.html'}")
    assert page.get_by_role("heading", name="Limits of the method").count() == 1
    assert page.evaluate("window.evil") is None
    assert [url for url in elsewhere if not url.startswith("file:")] == []
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(browser: Any, address: str, portrait: Path, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    give(page, address, portrait)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("Ask", "Stop", "Ask again", "Clear", "Report"):
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
