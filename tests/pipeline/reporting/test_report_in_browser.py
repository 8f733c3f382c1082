"""The page of a study in headless Chromium: on a phone and a wide screen, in light and dark."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, NO_CHROMIUM, Browser, BrowserPage, browser
from made_study import FOLDER

from pipeline import report

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]

# Every visible text's contrast with the colour behind it, by WCAG 2: the least, and where.
CONTRAST = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const [r, g, b, alpha = 1] = channels(getComputedStyle(each).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  let least = [Infinity, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < least[0]) least = [ratio, text];
  }
  return least;
})()"""
COLUMN = "[...document.querySelectorAll('#table-topologies tbody tr')].map((row) => row.cells[3].textContent)"
SORTED = "[...document.querySelectorAll('#table-topologies th')].map((th) => th.getAttribute('aria-sort'))"


@pytest.fixture(scope="module")
def page_file(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(results, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report.main(["toy"])
    return folder / FOLDER / "index.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(params=[(360, False), (360, True), (1400, False), (1400, True)], ids=lambda p: f"{p[0]}-{p[1]}")
def page(request: pytest.FixtureRequest, chromium: Browser, page_file: Path) -> BrowserPage:
    width, dark = request.param
    return chromium.open(page_file.as_uri(), width=width, dark=dark)


def test_the_page_loads_without_an_error_asks_for_nothing_else_and_shows_every_picture(
    page: BrowserPage, page_file: Path
) -> None:
    page.evaluate("[...document.querySelectorAll('details')].forEach((each) => each.open = true)")
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    drawn = [path for path in page_file.parent.rglob("*") if path.suffix in (".png", ".gif")]
    assert page.evaluate("document.images.length") == len(drawn) > 0
    assert page.evaluate("getComputedStyle(document.body).margin") == "0px"  # the style is let in
    assert page.errors == []
    assert page.requests == [page_file.as_uri()]


def test_nothing_is_wider_than_the_window_but_what_scrolls_in_a_box_of_its_own(page: BrowserPage) -> None:
    page.evaluate("[...document.querySelectorAll('details')].forEach((each) => each.open = true)")
    assert page.evaluate("innerWidth") in (360, 1400), "a phone zooms out if anything is wider"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = "[...document.querySelectorAll('.scroll, pre')]"
    assert page.evaluate(f"{boxes}.length") >= 8
    assert page.evaluate(f"{boxes}.every((box) => box.tabIndex === 0)"), "the keyboard has to reach them"
    if page.evaluate("innerWidth") == 360:
        assert page.evaluate(f"{boxes}.filter((box) => box.scrollWidth > box.clientWidth).length") >= 5


def test_the_first_number_of_every_table_of_results_is_beside_the_name_of_its_row(page: BrowserPage) -> None:
    """Nobody has to scroll for it, and what a phone leaves out of the row stands below its name."""
    tables = "[...document.querySelectorAll('#tables tbody tr')]"
    first = "((row) => row.querySelector('.number').getBoundingClientRect())"
    assert page.evaluate(f"{tables}.length") >= 10
    assert page.evaluate(f"{tables}.every((row) => {first}(row).right <= innerWidth)")
    narrow = page.evaluate("innerWidth") == 360
    shown = page.evaluate(f"{tables}.map((row) => row.querySelector('small').checkVisibility())")
    assert set(shown) == {narrow}
    leads = page.evaluate("[...document.querySelectorAll('.lead')].map((cell) => cell.checkVisibility())")
    assert set(leads) == {not narrow}
    words = page.evaluate("document.querySelector('#table-decoders tbody small').textContent")
    assert words == page.evaluate("document.querySelector('#table-decoders tbody .lead').textContent") == "FC"


def test_a_picture_and_a_finding_are_on_the_first_screen(page: BrowserPage) -> None:
    bottoms = [
        page.evaluate(f"document.querySelector('{selector}').getBoundingClientRect().bottom")
        for selector in (".summary img", ".summary li")
    ]
    assert max(bottoms) <= page.evaluate("innerHeight")


def test_a_picture_fills_the_screen_when_it_is_pressed_and_goes_away_again(page: BrowserPage) -> None:
    dialog = "document.querySelector('dialog')"
    assert page.evaluate(f"{dialog}.open") is False
    link = page.evaluate("document.querySelector('#figures .plate').getAttribute('href')")
    page.evaluate("document.querySelector('#figures .plate').focus()")
    page.press("Enter", 13)
    assert page.evaluate(f"{dialog}.open") is True
    assert page.evaluate(f"{dialog}.getBoundingClientRect().width") == page.evaluate("innerWidth")
    own = page.evaluate("document.querySelector('#figures .plate img').width")
    enlarged = page.evaluate(f"{dialog}.querySelector('img').width")
    assert enlarged == 600 > own if page.evaluate("innerWidth") == 360 else enlarged == 1200
    page.evaluate(f"{dialog}.querySelector('button').click()")
    assert page.evaluate(f"{dialog}.open") is False
    assert link.endswith(".png"), "without scripts the file opens"
    assert page.errors == []


def test_nothing_that_has_to_be_opened_is_printed_and_no_command_is_cut_off(page: BrowserPage) -> None:
    assert page.evaluate("document.querySelector('.summary details').checkVisibility()")
    assert (
        page.evaluate("(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.querySelector('pre'))") == 0
    )
    page.send("Emulation.setEmulatedMedia", media="print")
    assert page.evaluate("[...document.querySelectorAll('details')].some((each) => each.checkVisibility())") is False


def test_no_word_is_broken_at_its_hyphen(chromium: Browser, page_file: Path, tmp_path: Path) -> None:
    text = page_file.read_text().replace("<h1>Toy</h1>", '<h1>Toys of <span class="whole">sci-kit-learn</span></h1>')
    copy = tmp_path / "index.html"
    copy.write_text(text)
    page = chromium.open(copy.as_uri(), width=360)
    assert page.evaluate("document.querySelector('h1 .whole').getClientRects().length") == 1
    assert page.evaluate("getComputedStyle(document.querySelector('h1 .whole')).whiteSpace") == "nowrap"


def test_text_stands_out_against_what_is_behind_it(page: BrowserPage) -> None:
    ratio, text = page.evaluate(CONTRAST)
    assert ratio >= 4.5, text


def test_dark_and_light_differ(chromium: Browser, page_file: Path) -> None:
    colours = [
        chromium.open(page_file.as_uri(), width=360, dark=dark).evaluate("getComputedStyle(document.body).color")
        for dark in (False, True)
    ]
    assert colours[0] != colours[1]


def test_a_header_sorts_its_column_by_value_up_and_down_and_back(page: BrowserPage) -> None:
    press = "document.querySelectorAll('#table-topologies th button')[3].click()"
    given = page.evaluate(COLUMN)
    assert given == ["99.25 ± 0.35", "98.50 ± 0.71", "99.25 ± 0.35", "96.50 ± 0.71"]
    assert not any(page.evaluate(SORTED))
    page.evaluate(press)
    assert page.evaluate(COLUMN) == sorted(given)
    assert page.evaluate(SORTED)[3] == "ascending"
    page.evaluate(press)
    assert page.evaluate(COLUMN) == sorted(given, reverse=True)
    assert page.evaluate(SORTED)[3] == "descending"
    page.evaluate(press)
    assert page.evaluate(COLUMN) == given
    assert not any(page.evaluate(SORTED))


@pytest.mark.parametrize("nothing", ["", "not run"])
def test_the_keyboard_sorts_and_numbers_with_signs_and_commas_are_numbers_and_empty_cells_last(
    nothing: str, chromium: Browser, page_file: Path
) -> None:
    page = chromium.open(page_file.as_uri(), width=1400)
    rows = "document.querySelectorAll('#table-topologies tbody tr')"
    texts = ["1,411,344", "−0.25", nothing, "+3.50 ± 0.1"]
    for number, text in enumerate(texts):
        page.evaluate(f"{rows}[{number}].cells[3].textContent = {text!r}")
    page.evaluate("document.querySelectorAll('#table-topologies th button')[3].focus()")
    page.press("Enter", 13)
    assert page.evaluate(COLUMN) == ["−0.25", "+3.50 ± 0.1", "1,411,344", nothing]
    page.press("Enter", 13)
    assert page.evaluate(COLUMN) == ["1,411,344", "+3.50 ± 0.1", "−0.25", nothing]
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"


def test_a_picture_in_motion_waits_until_it_is_asked_for(chromium: Browser, page_file: Path) -> None:
    page = chromium.open(page_file.as_uri(), width=360)
    shown = "[...document.querySelectorAll('img[src^=\"data:image/gif\"]')].map((image) => image.checkVisibility())"
    assert page.evaluate(shown) == [False]
    page.evaluate("[...document.querySelectorAll('summary')].find((each) => each.textContent === 'Animation').click()")
    assert page.evaluate(shown) == [True]


def test_without_scripts_every_table_is_there_without_buttons(chromium: Browser, page_file: Path) -> None:
    page = chromium.open(page_file.as_uri(), width=360)
    assert page.evaluate("document.querySelectorAll('th button').length") > 0
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.send("Page.reload")
    page.wait_for("document.readyState === 'complete' && !document.querySelector('button')")
    assert page.evaluate("document.querySelectorAll('table').length") >= 7
    assert page.evaluate(COLUMN) == ["99.25 ± 0.35", "98.50 ± 0.71", "99.25 ± 0.35", "96.50 ± 0.71"]
