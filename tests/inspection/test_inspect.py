"""dfd inspect: a page and a JSON file for each file, an index of several, and no file that stops the others."""

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import browser
import numpy as np
import pytest
from photos import jpeg, photo, png

from dfd.cli import main
from dfd.forensics import TOOLS, Catalogue, Tool, examine
from dfd.forensics.finding import Map, Method, Region, Table
from dfd.inspection import one_file
from dfd.inspection.evidence import in_order
from dfd.inspection.inspect import _names, inspect_files

METHOD = Method("jpeg_quality", "a test's own")


@pytest.fixture
def files(tmp_path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(photo(1, 200)))
    (folder / "b.png").write_bytes(png(photo(2, 120)))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_file_becomes_a_page_and_a_json_file_of_every_tool(files, tmp_path, capsys):
    assert main(["inspect", str(files / "a.jpg"), "--out", str(tmp_path / "out")]) == 0
    assert f"page: {tmp_path / 'out' / 'a.html'}" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.html", "a.json"]
    facts = json.loads((tmp_path / "out" / "a.json").read_text())
    assert {tool.name for tool in TOOLS} <= {each["tool"] for each in facts["findings"]}
    assert facts["status"] == "ok" and (facts["width"], facts["height"]) == (200, 200)
    page = (tmp_path / "out" / "a.html").read_text()
    assert (
        facts["sha256"] in page and "data:image/jpeg" in page and "http" not in page.replace("http-equiv", "")
    )


@pytest.mark.slow
def test_a_folder_makes_an_index_and_json_lines(files, tmp_path, capsys):
    assert main(["inspect", str(files), "--out", str(tmp_path / "out"), "--json", "--workers", "1"]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [Path(each["path"]).name for each in lines] == ["a.jpg", "b.png"]
    assert "1 other file not tried" in err
    index = (tmp_path / "out" / "index.html").read_text()
    assert 'href="001-a.html"' in index and 'href="002-b.html"' in index and "notes.txt" in index


def test_what_cannot_be_read_is_said_and_the_others_are_done(files, tmp_path, capsys):
    (files / "c.jpg").write_bytes(b"")
    (files / "d.jpg").write_bytes(b"words")
    (files / "e.jpg").write_bytes(jpeg(photo(3, 200))[:-2000])
    os.mkfifo(files / "f.jpg")
    (files / "g.jpg").symlink_to(files / "nothing")
    named = [str(files / name) for name in ["a.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]]
    assert main(["inspect", *named, str(files), "--out", str(tmp_path / "out"), "--workers", "2"]) == 1
    out = capsys.readouterr().out
    assert (
        "c.jpg: it cannot be read: the file is empty" in out
        and "f.jpg: it cannot be read: no file: a pipe" in out
    )
    assert "g.jpg: it cannot be read: No such file (a broken link)\n" in out
    assert out.count("could not be decoded") == 2
    assert {path.name for path in (tmp_path / "out").glob("*.html")} >= {
        "index.html",
        "001-a.html",
        "003-d.html",
    }
    index = (tmp_path / "out" / "index.html").read_text()
    assert "the file is empty" in index and "c.jpg" in index


def test_a_single_file_that_cannot_be_read_has_a_record_and_no_page(tmp_path, capsys):
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert main(["inspect", str(tmp_path / "empty.jpg"), "--out", str(tmp_path / "out")]) == 1
    out = capsys.readouterr().out
    assert out == f"{tmp_path / 'empty.jpg'}: it cannot be read: the file is empty\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["empty.json"]
    facts = json.loads((tmp_path / "out" / "empty.json").read_text())
    assert (
        facts["status"] == "unreadable" and "the file is empty" in facts["reason"] and facts["inspected_at"]
    )


def test_names_that_are_not_there_are_lines_and_the_others_are_done(files, tmp_path, capsys):
    (files / "link.jpg").symlink_to(files / "nothing")
    named = ["missing.jpg", str(files / "a.jpg"), str(files / "link.jpg"), "https://example.org/b.jpg"]
    assert main(["inspect", *named, "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    out = capsys.readouterr().out
    assert f"{files / 'a.jpg'}: " in out
    assert "missing.jpg: it cannot be read: No such file\n" in out
    assert "link.jpg: it cannot be read: No such file (a broken link)\n" in out
    assert "example.org/b.jpg: it cannot be read: No such file. Addresses are not opened: " in out
    pages = sorted(path.name for path in (tmp_path / "out").glob("*.html"))
    assert pages == ["001-a.html", "index.html"] and len(list((tmp_path / "out").glob("*.json"))) == 4
    assert "a broken link" in (tmp_path / "out" / "index.html").read_text()


def test_a_pipe_with_the_name_of_a_picture_is_called_a_pipe(files, tmp_path, capsys):
    os.mkfifo(files / "c.jpg")
    assert main(["inspect", str(files), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    out = capsys.readouterr().out
    assert "c.jpg: it cannot be read: no file: a pipe" in out
    assert "1 other file not tried (no picture's suffix: .txt)" in out


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_what_is_done_and_says_so(files, tmp_path, number, code):
    for at in range(60):
        (files / f"n{at}.jpg").write_bytes(jpeg(photo(at, 400)))
    out, log = tmp_path / "out", tmp_path / "custody.jsonl"
    args = ["inspect", files, "--out", out, "--custody", log, "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dfd.cli", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while len(list(tmp_path.glob("out.part-*/*.json"))) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    assert not log.exists()  # no entry of a page that is not in its place
    process.send_signal(number)
    said, err = process.communicate(timeout=120)
    assert process.returncode == code and not list(tmp_path.glob("out.part-*"))
    pages, records = ({path.stem for path in out.glob(f"0*.{kind}")} for kind in ("html", "json"))
    assert pages == records and 2 <= len(pages) < 62
    sentence = f"Interrupted: {len(pages)} of 62 files were inspected."
    index = (out / "index.html").read_text()
    assert sentence in index and sentence in err and f"page: {out / 'index.html'}" in said
    assert all(f'href="{page}.html"' in index for page in pages)
    paths = {json.loads((out / f"{page}.json").read_text())["path"] for page in pages}
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert {each["file"] for each in entries} == paths and len(entries) == len(pages)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["https://example.org/a.jpg"], "Addresses are not opened: whoever runs that host"),
        (["missing.jpg"], "there is no file or folder missing.jpg"),
        ([], "dfd inspect photo.jpg"),
        (["empty"], "no pictures in empty"),
        (["files/a.jpg", "--language", "tlh"], "no words in the language 'tlh': there are en"),
        (["files/a.jpg", "--workers", "0"], "0 workers"),
    ],
)
def test_bad_input_is_one_line_before_any_work(files, tmp_path, capsys, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["inspect", *args, "--out", "out"]) == 1
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_holds_something_is_refused(files, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main(["inspect", str(files), "--out", str(tmp_path / "out")]) == 1
    assert "mine.txt" in capsys.readouterr().err or (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("out", ["files/a.jpg/out", "/proc/out"])
def test_an_output_that_cannot_be_written_is_one_error(files, tmp_path, capsys, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "files", "--out", out]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and out.removesuffix("/out") in err and ".part-" not in err


def test_names_of_pages_are_plain_and_never_twice():
    paths = [Path("a/ü nice.jpg"), Path("b/ü nice.jpg"), Path("c/\x1b[2J.png"), Path("d/日本.png")]
    names = _names(paths)
    assert len(set(names)) == 4
    assert all(name.isascii() and "/" not in name and " " not in name for name in names)


def loud(data: bytes):
    """A finding that holds everything, and a stranger's words."""
    values = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    evil = "<script>alert(1)</script>\x1b[2J"
    return METHOD(
        "found",
        "not_decoded",
        facts={"why": evil},
        score=0.7,
        unit="score",
        map=Map(values, 0, 1, "score"),
        table=Table(("table", "steps"), ((1, evil),)),
        regions=(Region((10, 20, 30, 40), "table"),),
    )


def broken(data: bytes):
    raise RuntimeError("it broke")


@pytest.fixture
def planted(monkeypatch):
    """In this process: a tool that finds something, and one that breaks."""
    tools = (
        Tool(METHOD, loud, "file"),
        Tool(Method("broken", "nobody"), broken, "file"),
        next(tool for tool in TOOLS if tool.name == "jpeg_quality"),
    )
    monkeypatch.setattr(one_file, "_tools", lambda files: tools)
    monkeypatch.setattr("dfd.forensics.catalogue.Catalogue.title", lambda self, tool: f"Title of {tool}")
    for name in ("look", "ignore"):
        monkeypatch.setattr(f"dfd.forensics.catalogue.Catalogue.{name}", lambda self, tool: "A sentence.")


def inspected(files: Path, out: Path) -> str:
    out.mkdir()
    from dfd.forensics.tools import Files

    task = one_file.Task(files / "a.jpg", "a.jpg", out, "a", Files(), "en", None, ())
    result = one_file.inspect_file(task)
    assert not result.is_whole and result.line.traces == 1
    return (out / "a.html").read_text()


def test_the_strongest_comes_first_and_a_broken_tool_is_a_status(planted, files, tmp_path):
    page = inspected(files, tmp_path / "out")
    assert page.index("Traces found") < page.index("<h2>Facts</h2>") < page.index("Tools that failed")
    assert "This tool broke on the file: RuntimeError: it broke." in page
    assert "1 of 3 tools found a trace" in page and "0 looked and found nothing" in page
    assert "<script>alert" not in page and "\x1b" not in page and "&lt;script&gt;alert(1)" in page


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(planted, files, tmp_path, width):
    if browser.missing():
        pytest.skip(browser.missing())
    inspected(files, tmp_path / "out")
    ask = """(() => {
      const slider = document.querySelector("input[type=range]"), map = document.querySelector(".map");
      const before = map.style.opacity;
      slider.value = 25; slider.dispatchEvent(new Event("input"));
      return [before, map.style.opacity, map.getBoundingClientRect().width > 100];
    })()"""
    seen = browser.look_at(tmp_path / "out" / "a.html", tmp_path / "profile", width, ask)
    assert seen.answer == ["0.75", "0.25", True]
    assert seen.overflow <= 0 and not seen.complaints and len(seen.requests) == 1
    assert all(natural for _, natural in seen.images)


@pytest.mark.slow
def test_the_index_sorts_in_a_browser(files, tmp_path):
    if browser.missing():
        pytest.skip(browser.missing())
    inspect_files([files], tmp_path / "out")
    ask = """(() => {
      const names = () => [...document.querySelectorAll("tbody tr")].map(row => row.cells[1].textContent.slice(-5));
      const button = document.querySelectorAll("thead button")[1];
      button.click(); const up = names(); button.click();
      return [up, names(), document.querySelectorAll("th")[1].getAttribute("aria-sort")];
    })()"""
    seen = browser.look_at(tmp_path / "out" / "index.html", tmp_path / "profile", 900, ask)
    assert seen.answer == [["a.jpg", "b.png"], ["b.png", "a.jpg"], "descending"]
    assert seen.overflow <= 0 and not seen.complaints


def _ended(task):
    if task.path.name == "b.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return one_file.inspect_file(task)


@pytest.mark.slow
def test_a_file_that_ends_the_process_costs_itself_alone(files, tmp_path, monkeypatch, capsys):
    for number in range(3, 9):
        (files / f"{number}.jpg").write_bytes(jpeg(photo(number, 64)))
    monkeypatch.setattr("dfd.inspection.inspect.inspect_file", _ended)
    assert inspect_files([files], tmp_path / "out", workers=2) == 1
    out = capsys.readouterr().out
    assert out.count("was killed") == 1 and "b.png: the process that examined it was killed" in out
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    assert sorted(each["status"] for each in records) == ["ok"] * 7 + ["unreadable"]


def test_an_examination_without_tools_has_the_pixels(files):
    examined = examine((files / "a.jpg").read_bytes(), [])
    assert examined.pixels.shape == (200, 200, 3) and not examined.findings and not examined.refused


def test_a_video_is_told_by_its_bytes_and_looked_at_over_time(tmp_path, capsys):
    av = pytest.importorskip("av", reason="PyAV comes with the extra dfd[video]")
    with av.open(str(tmp_path / "clip.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(5):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(photo(1, 64), format="rgb24")))
        film.mux(stream.encode(None))
    (tmp_path / "clip.mp4").rename(tmp_path / "renamed.jpg")
    (tmp_path / "broken.mp4").write_bytes((tmp_path / "renamed.jpg").read_bytes()[:200])
    names = [str(tmp_path / name) for name in ("renamed.jpg", "broken.mp4")]
    assert main(["inspect", *names, "--out", str(tmp_path / "out"), "--workers", "1", "--json"]) == 1
    film, broken = map(json.loads, capsys.readouterr().out.splitlines())
    assert film["status"] == "ok" and film["width"] == 64
    assert {"clip_blinks", "clip_jitter", "clip_warping", "provenance"} <= {
        each["tool"] for each in film["findings"]
    }
    assert broken["status"] == "undecodable" and "damaged video" in broken["reason"]


@pytest.mark.slow
def test_each_inspected_file_gets_a_line_of_the_custody_log(files, tmp_path, capsys):
    log = tmp_path / "custody.jsonl"
    (files / "empty.jpg").write_bytes(b"")
    for out in ("first", "second"):
        main(["inspect", str(files), "--out", str(tmp_path / out), "--custody", str(log), "--workers", "1"])
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert [Path(each["file"]).name for each in said[:3]] == ["a.jpg", "b.png", "empty.jpg"]
    assert len(said) == 6 and said[0]["sha256"] == sha256((files / "a.jpg").read_bytes()).hexdigest()
    assert said[0]["versions"]["tools"].keys() >= {tool.name for tool in TOOLS}
    assert [each["details"]["status"] for each in said[:3]] == ["ok", "ok", "unreadable"]
    assert main(["custody", str(log)]) == 0
    log.write_text(log.read_text().replace("a.jpg", "z.jpg", 1))
    assert main(["custody", str(log)]) == 1
    with pytest.raises(ValueError, match="line 1"):
        inspect_files([files], tmp_path / "third", custody=log)
    assert not (tmp_path / "third").exists()


def test_what_the_file_says_comes_before_a_place_and_a_place_before_the_whole_picture():
    place = (Region((0, 0, 8, 8), "x"),)
    found = [
        Method("double_compression", "x")("found", "failed", facts={"why": "x"}),
        Method("jpeg_ghosts", "x", version=2)("found", "failed", facts={"why": "x"}, regions=place),
        Method("hashes", "x", kind="describes")("clear", "failed", facts={"why": "x"}),
        Method("provenance", "x")("found", "failed", facts={"why": "x"}),
    ]
    order = [each.finding.tool for each in in_order(found, [0.0] * 4, Catalogue())]
    assert order == ["provenance", "jpeg_ghosts", "double_compression", "hashes"]
