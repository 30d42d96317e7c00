"""The page in a real browser, on a real server with the demo model; `make test-browser` runs it."""

import base64
import contextlib
import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from pixelwise.flow.demo import CLASSES, PALETTE, draw_scene

CHROMIUM = Path(os.environ.get("PIXELWISE_CHROMIUM", "/usr/bin/chromium"))
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PIXELS = 1_000_000  # the server's limit here
BYTES = 2**20

pytestmark = pytest.mark.skipif(
    not (os.environ.get("PIXELWISE_BROWSER") and CHROMIUM.exists()),
    reason="needs PIXELWISE_BROWSER=1 and chromium: make test-browser",
)


@pytest.fixture(scope="module")
def models():
    pytest.importorskip("fastapi")
    from pixelwise.server.models import ServedModel, open_models

    demo = open_models([])[0]
    demo.segmenter.predict(np.zeros((96, 128, 3), np.uint8))  # what is compiled at first use
    labels = replace(demo.segmenter.labels, names=("earth", "green", "round", "petal", "rock"))
    return [demo, ServedModel("other", replace(demo.segmenter, labels=labels, scores={}))]


@contextlib.contextmanager
def served(models, **settings):
    from pixelwise.server.app import create_app
    from pixelwise.server.running import background
    from pixelwise.server.settings import Settings

    with background(create_app(models, Settings(max_pixels=PIXELS, max_bytes=BYTES, **settings))) as url:
        yield url


@pytest.fixture(scope="module")
def corrections(tmp_path_factory):
    return tmp_path_factory.mktemp("page") / "corrections"


@pytest.fixture(scope="module")
def url(models, corrections):
    with served(models, corrections=corrections) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, url):
    """Opens the page; afterwards there was no error in its console and no request to another host."""
    contexts, troubles = [], []

    def open_page(address=url, *, wait=True, **options):
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-US"} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # of a busy machine; nothing here waits for it
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if _is_trouble(said) else None)
        page.on("request", lambda asked: troubles.append(asked.url) if not _is_own(asked.url, address) else None)
        page.goto(address)
        if wait:
            page.wait_for_selector("#about:not(:empty)")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def _is_trouble(said):
    # the browser's own line on an answer that is not 200 is of these tests' making
    return said.type in ("error", "warning") and not said.text.startswith("Failed to load resource")


def _is_own(asked, address):
    return asked.startswith(("blob:", "data:")) or urlsplit(asked).netloc == urlsplit(address).netloc


@pytest.fixture(scope="module")
def scene():
    """A drawn picture (96, 128, 3) and its PNG."""
    image, _ = draw_scene(np.random.default_rng(5), (96, 128))
    return image, png(image)


def png(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def file(content, name="bed.png", kind="image/png"):
    return {"name": name, "mimeType": kind, "buffer": content}


def show(page, *files):
    page.set_input_files("#files", list(files))
    page.wait_for_selector("#panel:not([hidden])")
    page.wait_for_selector("#thumbs:not(:has([data-state=waiting], [data-state=working]))")
    frame(page)


def frame(page):
    """Waits until what was changed is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def canvas(page):
    """The stage as it is drawn, (H, W, 4)."""
    frame(page)
    address = page.evaluate("document.getElementById('canvas').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA"))


def picture_box(page):
    """Where the picture lies on the stage: left, top, right, bottom."""
    rows, columns = np.nonzero(canvas(page)[..., 3])
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def point_of(page, row, column, size):
    """The middle of a picture's pixel, in the window."""
    left, top, right, bottom = picture_box(page)
    stage = page.locator("#stage").bounding_box()
    x = stage["x"] + left + (column + 0.5) * (right - left) / size[1]
    return x, stage["y"] + top + (row + 0.5) * (bottom - top) / size[0]


def inner(labels, reach=3):
    """A pixel in the midst of a class: (row, column)."""
    for row in range(reach, labels.shape[0] - reach):
        for column in range(reach, labels.shape[1] - reach):
            around = labels[row - reach : row + reach + 1, column - reach : column + reach + 1]
            if labels[row, column] != 0 and (around == labels[row, column]).all():
                return row, column
    raise AssertionError("no class has a large enough region")


def downloaded(page, kind):
    with page.expect_download() as waiting:
        page.click(f"[data-download={kind}]")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_an_example_gets_the_classes_and_shares_of_predict(opened, models):
    page = opened()
    assert page.locator(".example").count() == 4
    assert "keeps what you save as a correction" in page.inner_text("#kept")
    page.locator(".example").first.click()
    page.wait_for_selector("#panel:not([hidden])")

    from pixelwise.server import page_files

    example = Image.open(page_files.FOLDER / "examples" / "garden-1.jpg")
    prediction = models[0].segmenter.predict(np.asarray(example))
    shares = sorted(((n / prediction.labels.size, name) for name, n in prediction.areas().items() if n), reverse=True)
    rows = page.locator("#legend li")
    assert [row.split("\n") for row in rows.all_inner_texts()] == [[name, f"{s * 100:.1f} %"] for s, name in shares]


def test_pictures_are_dropped_pasted_and_chosen_and_wait_in_a_row(opened, scene):
    page = opened()
    code = """([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(bytes)], kind + '.png', {type: 'image/png'}));
        const event = kind === 'drop' ? new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
            : new ClipboardEvent('paste', {clipboardData: data, bubbles: true});
        document.getElementById('stage').dispatchEvent(event); }"""
    page.evaluate(code, ["drop", list(scene[1])])
    page.wait_for_selector("#panel:not([hidden])")
    page.evaluate(code, ["paste", list(scene[1])])
    show(page, file(scene[1], "third.png"), file(scene[1], "fourth.png"))
    names = [each.split(",")[0] for each in page.locator(".thumb").evaluate_all("a => a.map(e => e.ariaLabel)")]
    assert names == ["drop.png", "paste.png", "third.png", "fourth.png"]
    assert page.locator(".thumb[aria-current]").get_attribute("aria-label") == "third.png, done"
    page.keyboard.press("]")
    assert page.locator(".thumb[aria-current]").get_attribute("aria-label") == "fourth.png, done"
    page.keyboard.press("[")
    page.keyboard.press("[")
    page.locator(".thumb[aria-current]").focus()
    page.keyboard.press("Delete")
    assert page.locator(".thumb").count() == 3


def test_opacity_style_and_legend_change_what_is_drawn_over_the_picture(opened, scene, models):
    page = opened()
    show(page, file(scene[1]))
    labels = models[0].segmenter.predict(scene[0]).labels
    row, column = inner(labels)
    x, y = point_of(page, row, column, labels.shape)
    stage = page.locator("#stage").bounding_box()
    at = (int(y - stage["y"]), int(x - stage["x"]))
    color, own = PALETTE[labels[row, column]], scene[0][row, column]

    page.fill("#opacity", "100")
    assert tuple(canvas(page)[at][:3]) == color
    page.fill("#opacity", "50")
    assert np.abs(canvas(page)[at][:3] - (np.array(color) + own) / 2).max() <= 3
    page.fill("#opacity", "0")
    plain = canvas(page)
    assert np.abs(plain[at][:3].astype(int) - own).max() <= 2

    page.fill("#opacity", "100")
    page.locator(f"#legend input[data-index='{labels[row, column]}']").uncheck()
    assert (canvas(page)[at] == plain[at]).all()
    page.click("#none")
    assert (canvas(page) == plain).all()
    page.click("#all")
    filled = canvas(page)
    assert tuple(filled[at][:3]) == color
    page.click("[data-style=outlines]")
    assert (canvas(page)[at] == plain[at]).all()
    page.click("[data-style=patterns]")
    patterned = canvas(page)
    changed = (patterned != filled).any(axis=2)[at[0] - 8 : at[0] + 8, at[1] - 8 : at[1] + 8].mean()
    assert 0.05 < changed < 0.95  # of the class's region some cells are lighter
    page.keyboard.press("h")
    assert (canvas(page) == plain).all()


def test_hovering_and_the_keyboards_cross_tell_class_and_confidence(opened, scene, models):
    page = opened()
    show(page, file(scene[1]))
    prediction = models[0].segmenter.predict(scene[0])
    for row, column in (inner(prediction.labels), (2, 3), (90, 120)):
        page.mouse.move(*point_of(page, row, column, prediction.labels.shape))
        name, sure = page.locator("#probe").inner_text().split("\n")
        assert name == CLASSES[prediction.labels[row, column]]
        assert abs(int(re.findall(r"\d+", sure)[0]) - prediction.confidence[row, column] * 100) <= 1

    page.mouse.move(5, 5)
    assert page.locator("#probe").is_hidden()
    page.focus("#stage")
    page.keyboard.press("Control+ArrowRight")  # from the last place that was looked at, by one pixel
    row, column = 90, 121
    assert page.locator("#probe").inner_text().startswith(CLASSES[prediction.labels[row, column]])
    assert page.locator("#live").inner_text().startswith(CLASSES[prediction.labels[row, column]])


def test_wheel_and_keys_zoom_about_the_pointer_and_dragging_moves(opened, scene):
    page = opened()
    show(page, file(scene[1]))
    fitted = page.inner_text("#zoom")
    x, y = point_of(page, 30, 40, (96, 128))
    page.mouse.move(x, y)
    before = page.locator("#probe").inner_text()
    page.mouse.wheel(0, -600)
    frame(page)
    zoomed = page.inner_text("#zoom")
    assert int(zoomed.rstrip(" %")) > 2 * int(fitted.rstrip(" %"))
    page.mouse.move(x + 0.5, y)
    assert page.locator("#probe").inner_text() == before  # the same place is under the pointer

    seen = canvas(page)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=3)
    page.mouse.up()
    moved = canvas(page)
    assert (moved[240:440, 360:660] == seen[200:400, 300:600]).mean() > 0.95
    page.keyboard.press("0")
    assert page.inner_text("#zoom") == fitted
    page.keyboard.press("+")
    page.keyboard.press("-")
    assert page.inner_text("#zoom") == fitted


def test_the_divider_shows_the_picture_alone_on_its_left(opened, scene):
    page = opened()
    show(page, file(scene[1]))
    page.fill("#opacity", "100")
    filled = canvas(page)
    page.keyboard.press("h")
    plain = canvas(page)
    page.keyboard.press("h")
    page.click("#compare")
    both, middle = canvas(page), filled.shape[1] // 2
    assert (both[:, : middle - 2] == plain[:, : middle - 2]).all()
    assert (both[:, middle + 2 :] == filled[:, middle + 2 :]).all()
    page.focus("#divider")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#divider", "aria-valuenow") == "52"
    handle = page.locator("#divider").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 300)
    page.mouse.down()
    page.mouse.move(handle["x"] - 200, handle["y"] + 300, steps=3)
    page.mouse.up()
    assert int(page.get_attribute("#divider", "aria-valuenow")) < 45
    page.keyboard.press("d")
    assert page.locator("#divider").is_hidden()


def test_mask_overlay_polygons_and_shares_are_downloaded(opened, scene, models):
    page = opened()
    show(page, file(scene[1], "bed 7.png"))
    prediction = models[0].segmenter.predict(scene[0])
    name, content = downloaded(page, "mask")
    mask = Image.open(io.BytesIO(content))
    assert (name, mask.mode) == ("bed 7-mask.png", "P")
    assert (np.asarray(mask) == prediction.labels).all()

    page.fill("#opacity", "100")
    name, content = downloaded(page, "overlay")
    overlay = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    row, column = inner(prediction.labels)
    assert (name, overlay.shape) == ("bed 7-overlay.png", scene[0].shape)
    assert tuple(overlay[row, column]) == PALETTE[prediction.labels[row, column]]

    name, content = downloaded(page, "polygons")
    assert (name, json.loads(content)) == ("bed 7.geojson", prediction.polygons())

    name, content = downloaded(page, "shares")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == "bed 7-shares.csv"
    assert {row["class"]: int(row["pixels"]) for row in rows} == prediction.areas()
    assert abs(sum(float(row["share"]) for row in rows) - 1) < 1e-4


def test_another_model_segments_the_picture_anew_and_tells_its_scores(opened, scene, models):
    page = opened()
    show(page, file(scene[1]))
    assert page.inner_text("#about").startswith("mean IoU")
    page.click("#about")
    assert f"{models[0].segmenter.scores['mean_iou'] * 100:.1f} %" in page.inner_text("#about-body")
    assert "drawn gardens" in page.inner_text("#about-body")
    page.keyboard.press("Escape")
    page.select_option("#model", "other")
    page.wait_for_selector("#legend bdi:text-is('earth')")
    assert page.inner_text("#about") == "about this model"
    page.locator("#stage").focus()
    page.keyboard.press("m")
    page.wait_for_selector("#legend bdi:text-is('soil')")


def test_a_region_is_painted_undone_and_saved_as_a_pair_for_fit(opened, scene, models, corrections):
    page = opened()
    show(page, file(scene[1]))
    labels = models[0].segmenter.predict(scene[0]).labels
    page.click("#paint")
    page.locator("#colors label", has_text="stone").click()
    page.fill("#size", "9")
    page.mouse.move(*point_of(page, 40, 30, labels.shape))
    page.mouse.down()
    page.mouse.move(*point_of(page, 40, 60, labels.shape), steps=5)
    page.mouse.up()
    assert page.locator("#save").is_enabled()
    page.keyboard.press("Control+z")
    assert page.locator("#save").is_disabled()
    page.keyboard.press("Control+y")
    page.locator("#colors label", has_text="not sure").click()
    page.mouse.click(*point_of(page, 80, 100, labels.shape))

    wanted = labels.copy()
    y, x = np.mgrid[:96, :128] + 0.5
    wanted[np.hypot(x - np.clip(x, 30.5, 60.5), y - 40.5) <= 4] = 4
    wanted[np.hypot(x - 100.5, y - 80.5) <= 4] = 255
    page.click("#save")
    page.wait_for_selector("#saved:not([hidden])")
    assert "pixelwise fit" in page.inner_text("#saved")
    assert page.locator(".thumb[aria-current]").get_attribute("aria-label") == "bed.png, correction saved"

    (image,), (mask,) = (list((corrections / "demo" / kind).iterdir()) for kind in ("images", "masks"))
    assert (np.asarray(Image.open(image)) == scene[0]).all()
    saved = np.asarray(Image.open(mask))
    y, x = np.nonzero(saved != wanted)  # the rims of the strokes, by half a pixel of the pointer
    rim = np.abs(np.hypot(x + 0.5 - np.clip(x + 0.5, 30.5, 60.5), y - 40) - 4.5) < 1.2
    assert (rim | (np.abs(np.hypot(x - 100, y - 80) - 4.5) < 1.2)).all()
    assert {4, 255} <= set(np.unique(saved)) and saved[40, 45] == 4 and saved[80, 100] == 255


def test_a_region_is_painted_and_saved_by_keys_alone(opened, scene, corrections):
    page = opened()
    show(page, file(scene[1], "keys.png"))
    before = len(list((corrections / "demo" / "masks").glob("*")))
    page.focus("#stage")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("b")
    page.keyboard.press("3")
    page.keyboard.press(".")
    page.keyboard.down(" ")
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.up(" ")
    page.keyboard.press("f")
    page.keyboard.press("5")
    page.keyboard.press(" ")
    page.keyboard.press("Control+s")
    page.wait_for_selector("#saved:not([hidden])")
    page.keyboard.press("Escape")
    assert page.locator("#painting").is_hidden()
    assert len(list((corrections / "demo" / "masks").iterdir())) == before + 1


def test_every_control_is_reached_by_tab_has_a_name_and_shows_its_focus(opened, scene):
    page = opened()
    show(page, file(scene[1]))
    page.click("#compare")
    page.evaluate("document.activeElement.blur()")
    seen = {}
    code = """() => { const e = document.activeElement, s = getComputedStyle(e), inner = e.querySelector('span');
        const shown = s.outlineStyle !== 'none' || (inner && getComputedStyle(inner).outlineStyle !== 'none');
        return [e.id || e.dataset.download || e.dataset.style || e.className || e.dataset.index || e.tagName,
            Boolean((e.ariaLabel || e.title || e.innerText || e.labels?.[0]?.innerText || '').trim()), shown]; }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        name, named, visible = page.evaluate(code)
        if name in seen and name == "skip":
            break
        if name != "BODY":
            seen[name] = (named, visible)
    wanted = {"model", "about", "language", "theme", "help", "stage", "divider", "zoom-in", "zoom-out", "zoom-fit"}
    wanted |= {"compare", "layers", "thumb", "add", "opacity", "fill", "patterns", "outlines", "all", "none", "paint"}
    wanted |= {"mask", "overlay", "polygons", "shares", "skip", "0"}
    assert wanted <= set(seen)
    assert {name for name, good in seen.items() if good != (True, True)} == set()
    page.keyboard.press("?")
    assert page.locator("#help-box").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help-box").is_hidden()


def test_what_cannot_be_segmented_is_told_in_one_sentence(opened, scene):
    page = opened()
    flat = np.zeros((1100, 1000, 3), np.uint8)
    for content, sentence in (
        (b"GIF89a and then nothing", "not a picture that can be read"),
        (b"", "is empty"),
        (scene[1] + bytes(BYTES // 8 * 9 - len(scene[1])), "This file has 1.1 MB; this server takes up to 1.0 MB"),
        (png(flat), "too many pixels; this server takes up to 1.0 million"),
    ):
        page.set_input_files("#files", [file(content)])
        page.wait_for_selector(f"#fault:not([hidden]) #fault-text:has-text('{sentence}')")
        assert page.locator("#panel").is_hidden()
    show(page, file(scene[1]))
    assert page.locator("#fault").is_hidden()


def test_a_full_queue_is_waited_for_and_a_gone_server_asked_again(opened, scene):
    page = opened()
    answers = ["full", "gone"]

    def answer(route):
        kind = answers.pop(0) if answers else None
        if kind == "full":
            body = json.dumps({"error": {"code": "queue_full", "message": "32 pictures wait"}})
            route.fulfill(status=429, headers={"Retry-After": "1"}, content_type="application/json", body=body)
        elif kind == "gone":
            route.abort("connectionrefused")
        else:
            route.continue_()

    page.route("**/v1/segment*", answer)
    page.set_input_files("#files", [file(scene[1])])
    page.wait_for_selector("#busy-text:has-text('busy. Next try in 1 s')")
    page.wait_for_selector("#fault-text:has-text('does not answer')")
    page.click("#retry")
    page.wait_for_selector("#panel:not([hidden])")


def test_a_server_with_a_token_is_opened_with_it(opened, models, scene, tmp_path):
    with served(models[:1], token="open sesame", read_only=True, corrections=tmp_path) as url:
        page = opened(url, wait=False)
        for token, wrong in (("nothing", False), ("open sesame", True)):
            page.wait_for_selector("#token-box[open]")
            assert page.locator("#token-wrong").is_visible() == wrong
            page.fill("#token", token)
            page.keyboard.press("Enter")
            if not wrong:
                page.wait_for_selector("#token-wrong:not([hidden])")
        page.wait_for_selector("#token-box:not([open])", state="attached")
        show(page, file(scene[1]))
        assert page.locator("#paint").is_hidden()  # read-only
        assert page.locator("#kept").text_content().endswith("are not kept.")
        page.keyboard.press("b")
        assert page.locator("#painting").is_hidden()

        page = opened(f"{url.rstrip('/')}/#token=open%20sesame")
        assert page.evaluate("location.hash") == ""
        show(page, file(scene[1]))


def test_a_phone_has_everything_in_one_column_without_scrolling_sideways(opened, scene, models):
    page = opened(viewport=PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    show(page, file(scene[1]), file(scene[1], "second.png"))
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    box = page.locator("#stage").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator("#probe b").inner_text() in CLASSES

    fitted = page.inner_text("#zoom")
    fingers = page.context.new_cdp_session(page)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 120), ("touchEnd", None)):
        points = [] if apart is None else [{"x": middle[0] + s * apart, "y": middle[1], "id": s + 1} for s in (-1, 1)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    frame(page)
    assert int(page.inner_text("#zoom").rstrip(" %")) > 3 * int(fitted.rstrip(" %"))
    small = page.evaluate("""() => [...document.querySelectorAll('button, select, input[type=range]')].filter(e => {
        const b = e.getBoundingClientRect(); return b.width && Math.min(b.width, b.height) < 24; }).map(e => e.id)""")
    assert small == []  # WCAG 2.2, 2.5.8: 24 by 24 pixels
    page.locator("#paint").tap()
    page.wait_for_selector("#save")
    assert page.evaluate("document.getElementById('brush').getBoundingClientRect().bottom < innerHeight")
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


CONTRAST = """() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const behind = element => { for (let e = element; e; e = e.parentElement) {
      const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
      const color = getComputedStyle(e).backgroundColor;
      probe.fillStyle = color; probe.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
      if (a > 230) return [r, g, b]; } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const box = e.getBoundingClientRect();
    if (!own || !box.width || !e.checkVisibility() || e.closest(':disabled, .unseen, .skip')) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${e.tagName}.${e.className} ${e.textContent}`);
  }
  return low; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_a_contrast_of_4_5_in_light_and_dark(opened, scene, scheme):
    page = opened(color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []
    show(page, file(scene[1]))
    page.click("#paint")
    assert page.evaluate(CONTRAST) == []
    page.click("#about")
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("Escape")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(1 if scheme == "dark" else 2):  # system, light, dark
        page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != background
    assert page.evaluate(CONTRAST) == []
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != background  # it remembers


def test_the_page_speaks_chinese_where_the_browser_does_and_remembers_a_switch(opened, scene):
    page = opened(locale="zh-CN")
    assert page.get_attribute("html", "lang") == "zh-Hans"
    assert page.inner_text("#choose") == "选择图片"
    show(page, file(scene[1]))
    page.click("#paint")
    own = {"pixelwise", "English", "PNG", "GeoJSON", "CSV", "demo", "other", *CLASSES}
    latin = page.evaluate("""() => [...document.querySelectorAll('body *')]
        .filter(e => e.checkVisibility() && !e.closest('.unseen'))
        .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && /[a-zA-Z]{3}/.test(n.textContent)))
        .map(e => e.textContent.trim())""")
    assert [text for text in latin if text not in own and "IoU" not in text] == []
    page.click("#stop")
    page.click("#language")
    assert page.inner_text("#legend ~ *:visible, #paint") == "Paint a correction"
    page.reload()
    assert page.inner_text("#choose") == "Choose pictures"


def test_label_maps_of_every_depth_are_read_and_written_as_png(opened):
    page = opened()
    random = np.random.default_rng(0)
    for bits in (1, 2, 4, 8, 16):
        values = random.integers(0, 2**bits, (7, 13)).astype(np.uint16 if bits == 16 else np.uint8)
        out = io.BytesIO()
        if bits == 16:
            Image.fromarray(values).save(out, "PNG")
        else:
            _indexed(values).save(out, "PNG", bits=bits)
        code = """async bytes => { const m = await import('/page/png.js');
            const read = await m.decodePng(Uint8Array.from(bytes).buffer);
            const blob = await m.encodePng(read.values, read.width, read.height);
            return [Array.from(read.values), Array.from(new Uint8Array(await blob.arrayBuffer()))]; }"""
        read, written = page.evaluate(code, list(out.getvalue()))
        assert (np.reshape(read, values.shape) == values).all()
        assert (np.asarray(Image.open(io.BytesIO(bytes(written)))) == values).all()


def _indexed(values):
    picture = Image.fromarray(values, "P")
    picture.putpalette([k for k in range(256) for _ in range(3)])
    return picture
