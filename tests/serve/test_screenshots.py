"""Screenshots of the documentation: each is shown by a page, each page can be brought into the state that it shows, and `make screenshots` takes them anew. Of drawings of the toy set alone."""

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from clips import film
from PIL import Image
from serving import save_detector, serving

from dfd.cli import main
from dfd.synthetic.toy import draw_sample

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "screenshots"
TAKEN_BY = "DFD_SCREENSHOTS"  # a detector of the toy set: the files are written anew, by its verdicts
PATIENCE = 90_000  # milliseconds
LARGEST = 150_000  # bytes of a file
# without them each file is taken as a crop of a face, and no video's face is followed
WEIGHTS = {"--faces": "yunet_n_640_640.onnx", "--mesh": "mediapipe_face_landmark_468.tflite"}
# by the name of the file the width of the window
DESKTOP, PHONE = 1280, 390
SHOTS = {
    "serve.png": DESKTOP,
    "serve-phone.png": PHONE,
    "serve-video.png": DESKTOP,
    "inspect.png": DESKTOP,
    "inspect-phone.png": PHONE,
    "inspect-map.png": DESKTOP,
}


def drawing(number: int, size: int) -> np.ndarray:
    """One of the toy set, (size, size, 3)."""
    sample = draw_sample(number, 18, size, seed=3)
    return np.asarray(Image.open(io.BytesIO(sample["image_bytes"])).convert("RGB"))


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def walking(face: np.ndarray) -> list[np.ndarray]:
    """Four seconds of a drawing that moves through a room."""
    side, frames = len(face), []
    for at in range(100):
        left, top = round(180 + 120 * np.sin(at / 18)), round(30 + 8 * np.sin(at / 5))
        frames.append(np.full((360, 640, 3), (206, 200, 188), np.uint8))
        frames[-1][top : top + side, left : left + side] = face
    return frames


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The detector that is named, or one that is made in a moment; what it says is in the pictures."""
    named = os.environ.get(TAKEN_BY)
    checkpoint = Path(named) if named else save_detector(tmp_path_factory.mktemp("served") / "best.ckpt")
    weights = Path(os.environ.get("DFD_REAL_DATA", "none"), "weights")
    found = {option: weights / name for option, name in WEIGHTS.items() if (weights / name).is_file()}
    with serving(checkpoint, "--drawings", *(str(word) for pair in found.items() for word in pair)) as served:
        yield served


@pytest.fixture
def open_page(chromium):
    pages = []

    def open_(address, width):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme="light")
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.context.close()


def take(name: str, page, part=None) -> None:
    """Checks that what is shown can be seen, and writes it where that was asked for.

    Args:
        part: the element that is shown, over the whole width of the window; without one the window.
    """
    page.evaluate("Promise.all([...document.images].map(each => each.decode()))")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    clip = None
    if part is not None:
        box = part.evaluate(
            "each => { const { y, height } = each.getBoundingClientRect(); return [y + scrollY, height]; }"
        )
        clip = {"x": 0, "y": max(box[0] - 12, 0), "width": SHOTS[name], "height": box[1] + 24}
    data = page.screenshot(clip=clip, full_page=clip is not None)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width == SHOTS[name] and picture.height > 200
        colours = picture.convert("RGB").getcolors(picture.width * picture.height)
        assert len(colours) > 500, f"{name} shows no drawing"
        if os.environ.get(TAKEN_BY):
            FOLDER.mkdir(exist_ok=True)
            # a third of the file; of the ways to choose colours the one that keeps the rare ones, as of words
            few = picture.convert("RGB").quantize(
                256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
            )
            few.save(FOLDER / name, optimize=True)


def send(page, **files: bytes) -> None:
    page.set_input_files(
        "#files", [{"name": name, "mimeType": "", "buffer": data} for name, data in files.items()]
    )
    page.locator("#save-json:enabled").wait_for()


@pytest.mark.slow
def test_verdicts_in_a_wide_window(served, open_page):
    page = open_page(served.address, DESKTOP)
    send(page, **{f"drawing-{number}.jpg": jpeg(drawing(number, 192)) for number in (2, 6, 3)})
    assert page.locator("article .badge").count() == 3
    assert page.locator("#summary").inner_text().startswith("3 files")
    take("serve.png", page)


@pytest.mark.slow
def test_a_map_on_a_phone(served, open_page):
    page = open_page(served.address, PHONE)
    send(page, **{"drawing-3.jpg": jpeg(drawing(3, 192))})
    article = page.get_by_role("article")
    article.get_by_role("button", name="Show what moved the").click()
    article.get_by_role("slider").wait_for()
    take("serve-phone.png", page, article)


@pytest.mark.slow
def test_a_video_and_what_its_file_says(served, open_page, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
    page = open_page(served.address, DESKTOP)
    send(page, **{"clip.mp4": film(tmp_path / "clip.mp4", walking(drawing(3, 192))).read_bytes()})
    article = page.get_by_role("article")
    assert article.locator(".moments img").count() == 3
    article.get_by_role("button", name="Show what the file says").click()
    article.locator("h4").wait_for()
    take("serve-video.png", page, article)


@pytest.mark.slow
def test_the_page_of_an_inspection(open_page, tmp_path):
    edited = drawing(4, 480).copy()
    edited[24:144, 336:442] = edited[298:418, 38:144]  # a piece of the background, shown twice
    (tmp_path / "drawing.jpg").write_bytes(jpeg(edited))
    out = tmp_path / "inspected"
    assert main(["inspect", str(tmp_path / "drawing.jpg"), "--out", str(out), "--workers", "1"]) == 0
    for name, width in (("inspect.png", DESKTOP), ("inspect-phone.png", PHONE)):
        page = open_page((out / "drawing.html").as_uri(), width)
        assert "found a trace" in page.locator("section").first.inner_text()
        take(name, page)
    page = open_page((out / "drawing.html").as_uri(), DESKTOP)
    found = page.locator("article.tool", has=page.locator(".badge.found")).first
    assert found.locator("figure").count() == 1
    take("inspect-map.png", page, found)


def test_each_screenshot_is_shown_by_a_page_and_each_that_a_page_shows_is_there():
    shown = {
        (page.parent / name).resolve()
        for page in DOCS.rglob("*.md")
        for name in re.findall(r"!\[[^\]]+\]\(([^)]*screenshots/[^)]+)\)", page.read_text())
    }
    there = set(FOLDER.iterdir())
    assert shown == {FOLDER / name for name in SHOTS} == there
    for path in there:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width == SHOTS[path.name], path.name
        assert path.stat().st_size < LARGEST, f"{path.name}: make screenshots"
