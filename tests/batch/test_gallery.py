"""The gallery: pages, what they say, and the slider in a real browser."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from engine.batch.gallery import PER_PAGE, write_gallery
from engine.batch.plan import plan
from engine.batch.store import Store
from tests.batch.batches import run, sketches

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def test_many_items_are_paged_and_every_link_leads_somewhere(tmp_path):
    count = 2 * PER_PAGE + 1
    jobs = sketches(tmp_path, [f"s{number:03}" for number in range(count)])
    items = plan(jobs, str(tmp_path / "out"), False)
    names = write_gallery(items, Store(str(tmp_path / "out")), [items[-1].number], [items[1].number], jobs)
    assert names == ["index.html", "gallery/page-2.html", "gallery/page-3.html"]
    pages = [(tmp_path / "out" / name).read_text() for name in names]
    assert [page.count("<article") for page in pages] == [PER_PAGE, PER_PAGE, 1]
    assert pages[0].index(items[-1].name) < pages[0].index(items[0].name)  # the failed one comes first
    assert pages[0].index(items[1].name) < pages[0].index(items[0].name) and f"{count - 2} done, 1 failed, 1 not made yet" in pages[2]
    assert str(tmp_path) not in pages[0] and "sketches/s000.obj" in pages[0]  # as the job file names it
    for name, page in zip(names, pages, strict=True):
        links = re.findall(r'href="([^"]+)"', page)
        assert len(links) == 4 and all(((tmp_path / "out" / name).parent / link).is_file() for link in links)


def test_what_a_name_or_prompt_holds_is_text_and_never_markup(tmp_path):
    jobs = sketches(tmp_path, ["a<b>&'\"#? %"])
    jobs.write_text('[[job]]\ninput = "sketches/*.obj"\nprompt = "<script>alert(1)</script>"\n')
    assert run(jobs, tmp_path / "out").returncode == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    for link in re.findall(r'(?:href|src)="([^"]+)"', page):
        from urllib.parse import unquote

        assert (tmp_path / "out" / unquote(link)).is_file(), link


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed (pip install playwright)")
def test_the_slider_moves_in_chromium_from_the_disk(tmp_path: Path):
    from playwright.sync_api import sync_playwright  # type: ignore[import-not-found]

    assert run(sketches(tmp_path, ["a", "bad"]), tmp_path / "out").returncode == 1
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 700})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(request.url))
        page.goto((tmp_path / "out" / "index.html").as_uri())
        assert page.locator("article").count() == 2 and page.locator("article.failed").count() == 1
        assert all(page.locator("img").evaluate_all("found => found.map(image => image.complete && image.naturalWidth > 0)"))
        figure, after = page.locator("figure").first, page.locator("figure .after").first
        box = figure.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
        page.mouse.up()
        shown = after.evaluate("image => getComputedStyle(image).clipPath")
        assert 10 < float(re.findall(r"([\d.]+)%", shown)[0]) < 30, shown
        page.keyboard.press("ArrowRight")
        assert after.evaluate("image => getComputedStyle(image).clipPath") != shown
        assert faults == []
        browser.close()
