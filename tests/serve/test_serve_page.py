"""The page of `dfd serve` in a real Chromium: real uploads, wrong files, keyboard, names, contrast, phone."""

import json
import re
import time
from hashlib import sha256
from itertools import pairwise

import browser
import pytest
from clips import brightening, film
from serving import VIEW, png, save_detector, serving
from unruly_net import ENDS

pytestmark = pytest.mark.slow
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
PATIENCE = 60_000  # milliseconds
GREYS = [(f"{level:03d}.png", png((level, level, level))) for level in range(10, 250, 24)]
# what is written on what, as eyes get it: the first background below a text that is not transparent
CONTRAST = """() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, noscript")) continue;
    let behind = element;
    while (behind && (parts(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
    const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind ?? document.body).backgroundColor]
      .map(parts).map(light).sort((x, y) => y - x);
    found.push([element.textContent.trim().slice(0, 40), (a + .05) / (b + .05)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def served(detector_file):
    with serving(detector_file, "--max-bytes", "100000") as served:
        yield served


@pytest.fixture
def open_page(chromium):
    """Opens the page of a service; at the end it must have complained of nothing and asked nobody else."""
    pages = []

    def open_(served, viewport=DESKTOP, **options):
        page = chromium.new_context(viewport=viewport, **options).new_page()
        page.set_default_timeout(PATIENCE)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(served.address)
        pages.append((page, served.address))
        return page

    yield open_
    for page, address in pages:
        asked = [url for url in page.asked if not url.startswith((f"{address}/", "data:", "blob:"))]
        # what the browser itself logs of an answer that is a refusal
        said = [text for text in page.said if not text.startswith("Failed to load resource")]
        page.context.close()
        assert not asked and not said


def send(page, files, to="#files"):
    page.set_input_files(to, [{"name": name, "mimeType": "", "buffer": data} for name, data in files])
    page.locator("#save-json:enabled").wait_for()


def article(page, name):
    return page.get_by_role("article", name=name, exact=True)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_ten_at_once_each_get_their_own_verdict(served, open_page, viewport):
    page = open_page(served, viewport)
    send(page, GREYS)
    words = [article(page, name).locator(".badge").inner_text() for name, _ in GREYS]
    # the brighter, the surer: the words of `save_detector`'s band, in its order
    assert (
        words == sorted(words, key=["no trace found", "inconclusive", "fake"].index) and len(set(words)) == 3
    )
    counts = [f"{words.count(word)} {word}" for word in ("fake", "no trace found", "inconclusive")]
    # with whole crops no face is counted
    assert page.locator("#summary").inner_text() == f"10 files: {', '.join(counts)}."
    assert page.get_by_role("navigation").get_by_role("link").count() == 10
    first = article(page, GREYS[0][0])
    assert "This does not show that the picture is real." in first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    small = page.evaluate(
        "[...document.querySelectorAll('button, .chooser + label')].filter(each => each.checkVisibility())"
        ".map(each => each.getBoundingClientRect()).filter(box => box.height < 24 || box.width < 24).length"
    )
    assert small == 0  # WCAG 2.2: targets of 24 px


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_video_has_its_curve_and_its_worst_moments(served, open_page, viewport, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
    page = open_page(served, viewport)
    send(page, [("film.mp4", film(tmp_path / "film.mp4", brightening()).read_bytes())])
    shown = article(page, "film.mp4")
    assert shown.locator("figure > img").get_attribute("alt") == "film.mp4: P(fake) of each face over time"
    moments = shown.locator(".moments img")
    alts = [moments.nth(at).get_attribute("alt") for at in range(moments.count())]
    assert len(alts) == 3 and all(
        re.fullmatch(r"face 1 at \d+\.\d s: P\(fake\) 0\.\d\d", alt) for alt in alts
    )
    assert "The sound was not looked at." in shown.inner_text()
    assert not shown.get_by_role("button", name="Show what moved").count(), "a video has no map"
    shown.get_by_role("button", name="Show what the file says").click()
    shown.get_by_role("heading", name="What the file says of itself").wait_for()
    assert re.search(r"None of \d tools found a trace.*[1-9] could not judge", shown.inner_text(), re.DOTALL)
    for title in ("Blinks in the clip", "Shaking points", "Inner face against the head"):
        assert title in shown.inner_text()
    with page.expect_download() as saved:
        shown.get_by_role("button", name="Save its full page").click()
    assert saved.value.suggested_filename == "film.mp4.inspected.html"
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_wrong_files_are_told_each_and_the_service_lives(served, open_page):
    page = open_page(served)
    zipped = b"PK\x03\x04" + bytes(200)
    send(
        page,
        [
            ("text.jpg", b"a text"),
            ("a.zip", zipped),
            ("big.png", bytes(100_001)),
            ("empty.png", b""),
            ("ends.png", png(ENDS)),
            GREYS[0],
        ],
    )
    for name, said in (
        ("text.jpg", "not a picture in a format that is read"),
        ("a.zip", "a zip archive"),
        ("big.png", "up to 0.1 MB are read. Send a smaller copy."),
        ("empty.png", "The file is empty."),
        ("ends.png", "was ended before it had an answer"),
        (GREYS[0][0], "No trace found"),
    ):
        assert said in article(page, name).inner_text(), name
    assert article(page, "big.png").get_by_role("button", name="Try again").count() == 0
    article(page, "ends.png").get_by_role("button", name="Try again").click()
    page.locator("#save-json:enabled").wait_for()
    assert "was ended" in article(page, "ends.png").inner_text()
    said = page.locator("#summary").inner_text()
    assert said == "6 files: 1 no trace found; no verdict: 3 no answer, 2 unreadable."


def test_by_keyboard_alone(served, open_page):
    page = open_page(served, PHONE)
    choosers = []
    # long before it is needed: the browser may take a key before it knows that somebody wants to see its choosers
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.keyboard.press("Tab")  # the details of the detector
    page.keyboard.press("Enter")
    assert "calibrated on" in page.locator("#closing").inner_text()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    ring = page.evaluate("getComputedStyle(document.querySelector('label[for=files]')).outlineWidth")
    assert ring == "3px"
    page.keyboard.press("Space")
    end = time.monotonic() + 60
    while not choosers and time.monotonic() < end:
        page.wait_for_timeout(100)
    choosers[0].set_files({"name": "a.png", "mimeType": "image/png", "buffer": GREYS[5][1]})
    page.locator("#save-json:enabled").wait_for()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("Show what moved"):
            break
    page.keyboard.press("Enter")
    slider = article(page, "a.png").get_by_role("slider")
    slider.wait_for()
    # the focus goes where the work's result is
    assert page.evaluate("document.activeElement.type") == "range"
    # the grey one is inconclusive: what is said of its map begins with that
    said = article(page, "a.png").locator(".faces figure > *").first.inner_text()
    assert said.startswith("This map explains no verdict, since there is none: P(fake) lies between")
    before = page.evaluate("document.querySelector('.stack img + img').style.opacity")
    page.keyboard.press("Home")
    assert (before, page.evaluate("document.querySelector('.stack img + img').style.opacity")) == (
        "0.75",
        "0",
    )
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    heading = page.get_by_role("heading", name=re.compile("What the file says of itself"))
    heading.wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H4"


def test_a_service_without_maps_offers_none(served, open_page):
    page = open_page(served)
    send(page, GREYS[:1])
    assert article(page, GREYS[0][0]).get_by_role("button", name="Show what moved the verdict").count() == 1

    def without(route):
        route.fulfill(
            body=route.fetch().text().replace('data-maps="yes"', 'data-maps=""'), content_type="text/html"
        )

    page.route(f"{served.address}/", without)
    page.reload()
    send(page, GREYS[:1])
    assert article(page, GREYS[0][0]).locator(".badge").inner_text() == "no trace found"
    assert page.get_by_role("button", name="Show what moved").count() == 0


def test_everything_that_acts_has_a_name_and_what_changes_is_announced(served, open_page):
    page = open_page(served)
    send(page, [GREYS[0], ("x.png", b"x")])
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named = {
        "button",
        "link",
        "checkbox",
        "slider",
        "img",
        "image",
        "article",
        "region",
        "navigation",
        "progressbar",
        "Video",
        "textbox",
    }
    nodes = [node for node in tree if not node["ignored"] and node["role"]["value"] in named]
    assert len(nodes) > 12
    assert not [node["role"]["value"] for node in nodes if not node.get("name", {}).get("value")]
    roles = {node["role"]["value"] for node in tree if not node["ignored"]}
    assert {"main", "status", "banner", "contentinfo"} <= roles
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(each => Number(each.tagName[1]))"
    )
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_can_be_read(served, open_page, scheme):
    page = open_page(served, color_scheme=scheme)
    page.locator("summary").click()
    send(page, [*GREYS[::3], ("x.png", b"x"), ("empty.png", b"")])
    article(page, GREYS[0][0]).get_by_role("button", name="Show what the file says").click()
    page.locator("h4").wait_for()
    page.evaluate(
        "document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {bubbles: true, dataTransfer: new DataTransfer()}))"
    )
    found = page.evaluate(CONTRAST)
    assert len(found) > 30
    assert not [each for each in found if each[1] < 4.5]


def test_what_is_saved_stands_alone(served, open_page, chromium, tmp_path):
    page = open_page(served)
    hostile = "<img src=x onerror=alert(1)>.png"
    send(page, [GREYS[-1], ("empty.png", b""), (hostile, GREYS[0][1])])
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    facts = json.loads(saved.value.path().read_text())
    assert facts["detector"] == "best.ckpt"
    by_name = {each["name"]: each for each in facts["files"]}
    assert by_name[GREYS[-1][0]]["scores"][0]["verdict"] == "fake" and hostile in by_name
    assert "The file is empty" in by_name["empty.png"]["problem"]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a page").click()
    path = tmp_path / "verdicts.html"
    saved.value.save_as(path)
    text = path.read_text()
    assert "<script" not in text and "<button" not in text
    seen = browser.look_at(path, tmp_path / "profile", width=390)
    assert "Fake: P(fake) is" in seen.text and "calibrated on" in seen.text and hostile in seen.text
    assert "3 files: 1 fake, 1 no trace found; no verdict: 1 no answer. Saved " in seen.text
    assert seen.overflow <= 0 and not seen.complaints and seen.requests == [path.resolve().as_uri()]
    assert all(width for _, width in seen.images)


def test_the_evidence_of_a_file_and_its_full_page(served, open_page, tmp_path):
    page = open_page(served)
    send(page, [GREYS[0]])
    one = article(page, GREYS[0][0])
    one.get_by_role("button", name="Show what the file says").click()
    one.get_by_role("heading", name="What the file says of itself").wait_for()
    assert "Metadata" in one.inner_text()
    # the counts of dfd inspect, those that could not judge among them
    counts = re.search(
        r"of \d\d tools found a trace\..*?[1-9]\d* could not judge", one.inner_text(), re.DOTALL
    )
    assert counts and "--" not in one.inner_text()
    with page.expect_download() as saved:
        one.get_by_role("button", name="Save its full page").click()
    assert saved.value.suggested_filename == f"{GREYS[0][0]}.inspected.html"
    assert "No trace found" in saved.value.path().read_text()


def test_an_address_is_not_opened_and_a_folder_is_walked(served, open_page, tmp_path):
    page = open_page(served)
    page.evaluate("""() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.setData("text/uri-list", "http://elsewhere.example/a.jpg");
      document.querySelector("#drop").dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer }));
    }""")
    assert "addresses are not opened" in page.get_by_role("alert").inner_text()
    folder = tmp_path / "holiday"
    (folder / "day").mkdir(parents=True)
    (folder / "day" / "a.png").write_bytes(GREYS[0][1])
    (folder / "notes.txt").write_text("not a picture")
    page.set_input_files("#folder", folder)
    page.locator("#save-json:enabled").wait_for()
    assert article(page, "holiday/day/a.png").locator(".badge").inner_text() == "no trace found"
    assert "1 other file of the folder not tried" in page.get_by_role("alert").inner_text()
    page.get_by_role("button", name="Forget all").click()
    assert page.locator("article").count() == 0 and page.locator("#summary").inner_text() == "No picture yet."


def test_a_busy_service_is_asked_again(detector_file, open_page):
    with serving(detector_file, "--queue", "1") as served:
        page = open_page(served)
        send(page, GREYS)
        assert page.locator("#summary").inner_text().startswith("10 files: ")
        assert "no answer" not in page.locator("#summary").inner_text()
        assert any("429" in text for text in page.said), "both requests at once were let in"


def test_a_page_of_a_service_with_tokens_asks_for_one(detector_file, open_page, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"newsroom score {sha256(b'secret').hexdigest()}\n")
    with serving(detector_file, "--tokens", str(tokens)) as served:
        page = open_page(served)
        send(page, GREYS[:1])
        needs = "This service needs a token: write yours above, or ask whoever runs it for one."
        assert needs in article(page, GREYS[0][0]).inner_text()
        state = page.locator("#token-state")
        for token, said in (
            ("wrong", "not known here. Ask whoever"),
            ("secret", "knows this token"),
            ("", needs),
        ):
            page.get_by_label("Access token").fill(token)
            page.get_by_label("Access token").press("Enter")
            state.get_by_text(said).wait_for()
        page.get_by_label("Access token").fill("secret")
        article(page, GREYS[0][0]).get_by_role("button", name="Try again").click()
        article(page, GREYS[0][0]).locator(".badge").wait_for()
        article(page, GREYS[0][0]).get_by_role("button", name="Show what the file says").click()
        page.get_by_text("may do score, and this needs inspect").wait_for()


def test_faces_are_boxed_where_they_are(real_data, real_weights, open_page, tmp_path):
    photo = sorted((real_data / "140k-real-and-fake-faces").rglob("*.jpg"))[0]
    checkpoint = save_detector(tmp_path / "best.ckpt", view={**vars(VIEW), "margin": 1.35})
    with serving(checkpoint, "--faces", str(real_weights / "yunet_n_640_640.onnx")) as served:
        page = open_page(served)
        send(page, [("a.jpg", photo.read_bytes()), ("grey.png", GREYS[5][1])])
        assert article(page, "a.jpg").get_by_role("img", name="a.jpg: one face, in a box").count() == 1
        picture, box = page.evaluate("""() => [".stack img", ".stack rect"].map(each => {
          const { x, y, width, height } = document.querySelector(each).getBoundingClientRect();
          return [x, y, width, height];
        })""")
        assert picture[0] < box[0] and box[0] + box[2] < picture[0] + picture[2]
        assert 0.2 < box[2] / picture[2] < 0.9
        # a crop of one face may be judged after all
        grey = article(page, "grey.png")
        assert 'tick "Each file is a crop of one face' in grey.inner_text() and "--" not in grey.inner_text()
        word = article(page, "a.jpg").locator(".badge").inner_text()
        said = page.locator("#summary").inner_text()
        assert said == f"2 files with 1 face: 1 {word}; no verdict: 1 no face."
        page.get_by_label("Each file is a crop of one face").check()
        grey.get_by_role("button", name="Try again").click()
        grey.get_by_text("P(fake) is").wait_for()
