"""The page of `kseq view` in a real browser: Chromium without a window, driven by Playwright."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from tests.helpers.photos import write_photos
from tests.helpers.viewing import HOSTILE_CLASS, HOSTILE_FILE, pack_hostile, pack_objects

playwright = pytest.importorskip("playwright.sync_api", reason="the page of `kseq view` is tested with Playwright's package")
pytest.importorskip("uvicorn", reason="the page of `kseq view` needs the extra `view`")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the page of `kseq view` in a browser, as there is no Chromium"),
]

OpenPage = Callable[..., Any]

# How often something is looked for, every 50 ms: a minute, on a machine that is busy.
_TRIES = 1200
# What a page says whose viewer was closed before it.
_IS_GONE = "ERR_CONNECTION_REFUSED"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Its sandbox refuses to run for root.
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Opens the page of a viewer. An error of a script, a request to elsewhere, or a refusal of the policy fails the test."""
    problems: list[str] = []
    contexts = []

    def open_one(viewer: kseq.Viewer, place: str = "", *, errors: bool = False, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 700}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda request: request.url.startswith((viewer.url, "blob:")) or problems.append(request.url))
        if not errors:
            page.on("console", lambda message: is_problem(message) and problems.append(message.text))
        page.goto(viewer.url + place)
        page.locator("#tabs a").first.wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


def is_problem(message: Any) -> bool:
    return message.type in ("error", "warning") and _IS_GONE not in message.text


@pytest.fixture(scope="module")
def shown(numbered: Path) -> Iterator[kseq.Viewer]:
    with kseq.Viewer(numbered, read_only=True) as viewer:
        yield viewer


@pytest.fixture
def mending(packed: Path) -> Iterator[kseq.Viewer]:
    with kseq.Viewer(packed) as viewer:
        yield viewer


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kseq.Viewer]:
    with kseq.Viewer(pack_objects(tmp_path_factory.mktemp("objects")), read_only=True) as viewer:
        yield viewer


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kseq.Viewer]:
    """100,000 samples of one pixel each, which says their number."""
    folder = tmp_path_factory.mktemp("many")
    numbers = np.arange(100_000)
    images = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8).reshape(-1, 1, 1, 3)
    np.savez(folder / "many.npz", images=images, labels=numbers % 7)
    kseq.pack(folder / "many.npz", folder / "packed", images=kseq.ImageSettings("raw", (1, 1)), workers=0)
    with kseq.Viewer(folder / "packed", read_only=True) as viewer:
        yield viewer


def cell(page: Any, position: int) -> Any:
    return page.locator(f"#cell-{position}")


def wait_until(page: Any, expression: str) -> None:
    """Wait until an expression is true. (Playwright's own function needs `eval`, which the page refuses.)"""
    for _ in range(_TRIES):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def count_of(page: Any, text: str) -> Any:
    """The line above the grid that says how many samples there are."""
    return page.locator("p.count", has_text=re.compile(f"^{text}$"))


def ids_in_sight(page: Any) -> list[int]:
    """The ids of the samples in sight, once all of them have come; asked for at once, since cells may come at any moment."""
    for _ in range(_TRIES):
        found = page.evaluate(
            """() => {
                const box = document.querySelector(".grid").getBoundingClientRect();
                return [...document.querySelectorAll(".cell")].filter((cell) => {
                    const own = cell.getBoundingClientRect();
                    return own.top >= box.top && own.bottom <= box.bottom;
                }).map((cell) => cell.dataset.id || "");
            }"""
        )
        if found and all(found):
            return sorted(map(int, found))
        page.wait_for_timeout(50)
    raise AssertionError(found)


def field(page: Any, name: str) -> Any:
    return page.get_by_label(name, exact=True)


def test_the_grid_shows_samples_with_class_split_and_thumbnail(shown: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(shown)
    cell(page, 0).get_by_text("a", exact=True).wait_for()
    assert re.match("Sample 0, a, (train|val), a/00000.png", cell(page, 0).get_attribute("aria-label"))
    wait_until(page, "getComputedStyle(document.querySelector('#cell-0 .thumb')).backgroundImage.includes('api/thumbs')")
    assert count_of(page, "100 samples").count() == 1
    assert page.title().startswith("packed")


def test_only_what_is_in_sight_exists_and_every_sample_can_be_reached(many: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(many)
    first = ids_in_sight(page)
    assert first == list(range(len(first)))
    grid = page.locator(".grid")
    # The bar dragged to the end, to the middle, and on by the wheel.
    grid.evaluate("(grid) => { grid.scrollTop = grid.scrollHeight; }")
    page.locator(".cell[data-id='99999']").wait_for()
    assert ids_in_sight(page)[-1] == 99_999
    grid.evaluate("(grid) => { grid.scrollTop = (grid.scrollHeight - grid.clientHeight) / 2; }")
    wait_until(page, "Math.abs(Number(document.querySelector('.cell').dataset.id) - 50000) < 2000")
    before = ids_in_sight(page)
    grid.hover()
    for _ in range(3):
        page.mouse.wheel(0, 250)
        page.wait_for_timeout(60)
    for _ in range(_TRIES):
        after = ids_in_sight(page)
        if after[0] >= before[0] + 12:
            break
        page.wait_for_timeout(50)
    page.wait_for_timeout(300)
    # Three steps of 250 pixels are three or four rows.
    assert before[0] + 12 <= ids_in_sight(page)[0] <= before[0] + 30
    assert page.locator(".cell").count() < 150


def test_scrolling_up_to_the_first_sample_by_small_steps_ends_there(many: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(many, "#view=samples&at=400")
    cell(page, 400).wait_for()
    page.locator(".grid").hover()
    for _ in range(40):
        page.mouse.wheel(0, -600)
        page.wait_for_timeout(20)
    cell(page, 0).wait_for()
    page.wait_for_timeout(200)
    assert ids_in_sight(page)[0] == 0


def test_keys_move_mark_and_open(shown: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(shown)
    ids_in_sight(page)
    grid = page.get_by_role("grid")
    grid.focus()
    columns = int(grid.get_attribute("aria-colcount"))
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert grid.get_attribute("aria-activedescendant") == f"cell-{columns + 1}"
    page.keyboard.press("Space")
    assert cell(page, columns + 1).get_attribute("aria-selected") == "true"
    assert page.get_by_text("1 marked", exact=True).count() == 1
    page.keyboard.press("End")
    cell(page, 99).wait_for()
    wait_until(page, "document.querySelector('#cell-99').dataset.id")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name="Sample 99").wait_for()
    page.keyboard.press("ArrowLeft")
    dialog.get_by_role("heading", name="Sample 98").wait_for()
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert grid.get_attribute("aria-activedescendant") == "cell-98"
    assert page.get_by_text("2 marked", exact=True).count() == 1
    assert grid.evaluate("(grid) => document.activeElement === grid")


def test_many_thumbnails_have_no_names_and_boxes_can_be_hidden(objects: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(objects)
    ids_in_sight(page)
    cell(page, 0).locator(".more").wait_for()
    # Asked for in one go, since cells are made anew at any moment.
    sides = """[0, 1].map((number) => document.getElementById(`cell-${number}`).getBoundingClientRect())
        .map(({left, right, width, height}) => ({left, right, width, height}))"""
    before, _ = page.evaluate(sides)
    field(page, "Thumbnails").select_option(label="many, no names")
    wait_until(page, "document.querySelector('.grid.bare #cell-1')?.dataset.id === '1'")
    assert page.locator(".caption").filter(visible=True).count() == 0
    first, second = page.evaluate(sides)
    # The grid rounds; captions are gone.
    assert abs(first["height"] - first["width"]) <= 2 and first["width"] < before["width"]
    # They lie close together, and each is what it was.
    assert second["left"] - first["right"] <= 2.5
    assert "Sample 0" in cell(page, 0).get_attribute("aria-label")
    drawn = "getComputedStyle(document.querySelector('#cell-0 .thumb')).backgroundImage"
    wait_until(page, f"{drawn}.includes('side=96') && !{drawn}.includes('plain')")
    field(page, "boxes").uncheck()
    wait_until(page, f"{drawn}.includes('plain=1')")
    cell(page, 1).click()
    page.get_by_role("dialog").get_by_role("heading", name="Sample 1").wait_for()


def test_filters_choose_and_stay_in_the_address(shown: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(shown)
    field(page, "Class").select_option(label="b")
    count_of(page, "30 samples").wait_for()
    field(page, "Split").select_option("train")
    condition = field(page, "Condition, as kseq drop --where")
    condition.fill("label=a,b")
    condition.press("Enter")
    page.get_by_role("button", name="Remove the condition label=a,b").wait_for()
    source = field(page, "Source")
    source.fill("0005")
    source.press("Enter")
    wait_until(page, "/^\\d samples$/.test(document.querySelector('.count:not(.problem)').textContent)")
    found = ids_in_sight(page)
    assert found
    assert set(found) <= set(range(50, 60))
    page.reload()
    page.locator(".cell").first.wait_for()
    assert ids_in_sight(page) == found
    page.go_back()
    page.get_by_role("button", name="Remove the condition label=a,b").click()
    wait_until(page, "!location.hash.includes('where')")


def test_a_wrong_condition_is_told_and_not_only_ignored(shown: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(shown, errors=True)
    condition = field(page, "Condition, as kseq drop --where")
    condition.fill("label=rose")
    condition.press("Enter")
    page.get_by_role("alert").filter(has_text="rose").wait_for()


def test_boxes_labels_and_masks_are_drawn_and_can_be_hidden(objects: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(objects, "#view=samples&open=1")
    dialog = page.get_by_role("dialog")
    dialog.locator("svg rect").nth(1).wait_for()
    assert dialog.locator("svg text").all_text_contents() == ["cup", "plate"]
    drawn = dialog.locator("svg rect").first.bounding_box()
    picture = dialog.locator(".figure img").first.bounding_box()
    share = picture["width"] / 80
    assert drawn["x"] - picture["x"] == pytest.approx(20 * share, abs=2)
    assert drawn["y"] - picture["y"] == pytest.approx(10 * share, abs=2)
    assert (drawn["width"], drawn["height"]) == (pytest.approx(30 * share, abs=3), pytest.approx(20 * share, abs=3))
    assert dialog.locator("img.mask").evaluate("(mask) => mask.decode().then(() => mask.naturalWidth)") == 80
    dialog.get_by_label("boxes", exact=True).uncheck()
    assert not dialog.locator("svg").is_visible()
    page.keyboard.press("ArrowRight")
    dialog.get_by_role("heading", name="Sample 2").wait_for()
    assert not dialog.locator("svg").is_visible()


def test_the_image_that_is_shown_has_the_very_pixels(shown: kseq.Viewer, numbered: Path, open_page: OpenPage) -> None:
    page = open_page(shown, "#view=samples&open=42")
    page.get_by_role("img", name="Image of sample 42").wait_for()
    pixels = page.evaluate(
        """async () => {
            const image = document.querySelector(".figure img");
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
            const drawing = canvas.getContext("2d");
            drawing.drawImage(image, 0, 0);
            return [...drawing.getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
    )
    with kseq.ShardDataset(numbered) as dataset:
        assert np.array_equal(np.array(pixels).reshape(4, 4, 4)[..., :3], dataset[42]["image"])


def test_relabel_drop_and_undo(mending: kseq.Viewer, packed: Path, open_page: OpenPage) -> None:
    page = open_page(mending)
    ids_in_sight(page)
    page.get_by_role("grid").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_text("2 marked", exact=True).wait_for()
    page.get_by_role("button", name="Relabel…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Class", exact=True).fill("cc")
    dialog.get_by_role("button", name="Relabel").click()
    dialog.get_by_role("alert").filter(has_text="cc").wait_for()
    dialog.get_by_label("Class", exact=True).fill("c")
    dialog.get_by_role("button", name="Relabel").click()
    dialog.wait_for(state="detached")
    wait_until(page, "document.querySelector('#cell-1 .name')?.textContent === 'c'")
    with kseq.ShardDataset(packed) as dataset:
        assert [int(dataset[number]["label"]) for number in range(3)] == [2, 2, 0]
    page.get_by_role("button", name=re.compile("^Undo: relabel")).click()
    wait_until(page, "document.querySelector('#cell-1 .name')?.textContent === 'a'")
    page.get_by_role("button", name="Drop…").click()
    page.get_by_role("dialog").get_by_role("button", name="Drop", exact=True).click()
    count_of(page, "98 samples").wait_for()
    assert page.locator("#marks").is_hidden()
    with kseq.ShardDataset(packed) as dataset:
        assert dataset.dropped.tolist() == [0, 1]
    page.get_by_role("button", name=re.compile("^Undo")).click()
    count_of(page, "100 samples").wait_for()


def test_read_only_saves_lists_that_the_commands_take(
    shown: kseq.Viewer, packed: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(shown)
    ids_in_sight(page)
    for position in (3, 5):
        cell(page, position).hover()
        cell(page, position).locator(".tick").click()
    page.get_by_role("button", name="Relabel…").click()
    page.get_by_role("dialog").get_by_label("Class", exact=True).fill("b")
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("button", name="Save list").click()
    download.value.save_as(tmp_path / "relabel.jsonl")
    assert kseq.relabel(packed, tmp_path / "relabel.jsonl").num_changed == 2
    page.get_by_role("button", name="Drop…").click()
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("button", name="Save list").click()
    download.value.save_as(tmp_path / "drop.csv")
    assert kseq.drop(packed, rejected_by=tmp_path / "drop.csv").num_dropped == 2
    with kseq.ShardDataset(packed) as dataset:
        assert dataset.dropped.tolist() == [3, 5]


@pytest.mark.parametrize(
    "place", ["", "#view=samples&open=0", "#view=batches&height=8&width=8", "#view=charts", "#view=lookalikes"]
)
def test_names_that_are_markup_run_nothing(tmp_path: Path, open_page: OpenPage, place: str) -> None:
    with kseq.Viewer(pack_hostile(tmp_path)) as viewer:
        page = open_page(viewer, place)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)
        assert page.evaluate("globalThis.owned") is None
        assert page.locator("svg[onload], img[onerror], img[src=x]").count() == 0
        text = page.locator("body").inner_text()
        if "lookalikes" not in place:
            assert HOSTILE_CLASS in text
        if place == "":
            assert HOSTILE_FILE in cell(page, 0).get_attribute("aria-label")


def test_a_hostile_address_runs_nothing(shown: kseq.Viewer, open_page: OpenPage) -> None:
    place = (
        "#view=samples&where=%3Cimg%20src=x%20onerror=globalThis.owned=1%3E&source=%22%3E%3Cscript%3E&order=__proto__&open=zz"
    )
    page = open_page(shown, place, errors=True)
    page.wait_for_timeout(500)
    assert page.evaluate("globalThis.owned") is None


def test_the_policy_refuses_scripts_and_other_machines(shown: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(shown, errors=True)
    # What a script that was smuggled in would try.
    assert (
        page.evaluate("() => { try { document.body.innerHTML = '<b>x</b>'; return 'written'; } catch { return 'refused'; } }")
        == "refused"
    )
    assert page.evaluate("() => fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    page.evaluate("() => { try { setTimeout('globalThis.owned = 1'); } catch { } }")
    page.wait_for_timeout(100)
    assert page.evaluate("globalThis.owned") is None


def test_batches_follow_the_sliders(shown: kseq.Viewer, numbered: Path, open_page: OpenPage) -> None:
    page = open_page(shown, "#view=batches&batch_size=8&height=4&width=4&seed=3", errors=True)
    page.locator(".rows figure").nth(7).wait_for()

    def ids() -> list[int]:
        return [int(text.split()[1]) for text in page.locator(".rows figcaption a").all_text_contents()]

    with kseq.Batches(numbered, "train", batch_size=8, seed=3) as batches:
        assert ids() == batches.sample_ids(0, 0).tolist()
        field(page, "Batch, as a number").fill("4")
        field(page, "Batch, as a number").press("Enter")
        field(page, "Epoch, as a number").fill("2")
        field(page, "Epoch, as a number").press("Enter")
        wanted = batches.sample_ids(2, 4).tolist()
        wait_until(page, f"document.querySelector('.rows figcaption a')?.textContent === 'sample {wanted[0]}'")
        assert ids() == wanted
    image = page.locator(".rows img").first
    assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 4
    # A larger batch size has fewer batches: the last number is no number any more.
    field(page, "Batch size").fill("40")
    field(page, "Batch size").press("Enter")
    page.get_by_text("of 0 to 1", exact=True).wait_for()
    assert len(ids()) == 40


def test_charts_count_and_lead_to_the_samples(shown: kseq.Viewer, open_page: OpenPage) -> None:
    page = open_page(shown, "#view=charts")
    table = page.get_by_role("region", name="Samples of each class and split")
    table.get_by_role("row", name=re.compile("^b .*30")).wait_for()
    page.get_by_role("img", name=re.compile("^Brightness: from ")).wait_for()
    table.get_by_role("link", name="b", exact=True).click()
    count_of(page, "30 samples").wait_for()


def test_leaks_are_shown_and_marked_but_for_one_copy(tmp_path: Path, open_page: OpenPage) -> None:
    for split in ("train", "val"):
        write_photos(tmp_path / "photos" / split, {"cat": 3})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    with kseq.Viewer(tmp_path / "packed") as viewer:
        page = open_page(viewer, "#view=lookalikes")
        page.get_by_role("heading", name="3 groups of images that are the same, or nearly so").wait_for()
        page.get_by_role("button", name=re.compile("^Mark all copies")).click()
        page.get_by_text("3 marked", exact=True).wait_for()
        page.get_by_role("button", name="Drop…").click()
        page.get_by_role("dialog").get_by_role("button", name="Drop", exact=True).click()
        page.get_by_role("heading", name="No two images are the same, or nearly so.").wait_for()
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        # A training can spare a copy sooner than an evaluation.
        assert dataset.splits == {"val": 3}


def test_a_change_by_somebody_else_appears_by_itself(mending: kseq.Viewer, packed: Path, open_page: OpenPage) -> None:
    page = open_page(mending)
    ids_in_sight(page)
    kseq.drop(packed, where=["label=a"])
    count_of(page, "50 samples").wait_for()
    assert ids_in_sight(page)[0] == 50
    assert page.locator("#message").inner_text()


def test_a_dataset_that_is_gone_is_told(mending: kseq.Viewer, packed: Path, open_page: OpenPage) -> None:
    page = open_page(mending, errors=True)
    ids_in_sight(page)
    shutil.rmtree(packed)
    page.locator("#message").filter(has_text=str(packed)).wait_for()


def test_ten_tabs_at_once_each_show_their_own(shown: kseq.Viewer, open_page: OpenPage) -> None:
    pages = [open_page(shown, f"#view=samples&order=random&seed={number}") for number in range(10)]
    orders = set()
    for number, page in enumerate(pages):
        page.locator(".cell").first.wait_for()
        ids_in_sight(page)
        orders.add(
            json.dumps(page.locator(".cell").evaluate_all("(cells) => cells.slice(0, 5).map((cell) => cell.dataset.id)"))
        )
        assert f"seed={number}" in page.url
    assert len(orders) == 10


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize(
    "place", ["", "#view=batches&height=8&width=8", "#view=charts", "#view=lookalikes", "#view=samples&open=1"]
)
def test_a_narrow_window_is_not_scrolled_sideways(objects: kseq.Viewer, open_page: OpenPage, place: str, width: int) -> None:
    page = open_page(objects, place, viewport={"width": width, "height": 700})
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for element in page.locator(".scrolled, .grid, .facts, dialog").all():
        assert element.evaluate("(element) => element.scrollWidth - element.clientWidth") <= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(objects: kseq.Viewer, open_page: OpenPage, scheme: str) -> None:
    page = open_page(objects, "#view=charts", color_scheme=scheme)
    page.locator(".chart").first.wait_for()
    colors = page.evaluate(
        """() => ["--text", "--faint", "--accent", "--bad", "--mark"].map((name) => {
            const probe = document.createElement("i");
            probe.style.color = `var(${name})`; probe.style.backgroundColor = "var(--raised)";
            document.body.append(probe);
            const style = getComputedStyle(probe);
            return [style.color, style.backgroundColor].map((color) => color.match(/\\d+/g).slice(0, 3).map(Number));
        })"""
    )
    # 4.5 to 1 is what WCAG 2.2 asks for (1.4.3).
    for text, behind in colors:
        lighter, darker = sorted((luminance(text), luminance(behind)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, behind)


def luminance(color: list[int]) -> float:
    """Of WCAG."""
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in np.array(color) / 255]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize(
    "place", ["", "#view=batches&height=8&width=8", "#view=charts", "#view=lookalikes", "#view=samples&open=1"]
)
def test_everything_that_can_be_used_has_a_name_for_a_screen_reader(
    objects: kseq.Viewer, open_page: OpenPage, place: str
) -> None:
    page = open_page(objects, place)
    page.wait_for_load_state("networkidle")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, img:not(.mask), dialog, [role]")]
            .filter((element) => !["row", "presentation", "status", "alert"].includes(element.getAttribute("role")))
            .filter((element) => element.checkVisibility())
            .filter((element) => !(element.getAttribute("aria-label") || element.getAttribute("aria-labelledby") || element.alt
                || element.labels?.[0]?.textContent.trim() || element.textContent.trim() || element.title))
            .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    assert page.locator("main").count() == page.locator("h1").count() == page.locator("[role=status]").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
