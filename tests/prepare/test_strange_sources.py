"""Sources as other people have them: other words, other systems, other containers. Each is read, or named with
a way on that works.
"""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dfd.batch import FAKE, REAL
from dfd.cli import main
from dfd.cli.error_messages import shortened
from dfd.prepare import pipeline
from dfd.prepare.face_crops import FaceSample, sample_faces
from dfd.prepare.pipeline import prepare
from dfd.prepare.readers import Reject, Row, find_reader, recognise
from dfd.prepare.readers.class_names import ClassNames, which_is_which
from dfd.prepare.readers.listed_paths import NotInFolder, find_listed, why_missing
from dfd.prepare.source import Source
from dfd.shards.table import load_table, made_by, remake


def picture(seed: int, name: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, name)
    return buffer.getvalue()


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def pictures(root: Path, *folders: str, count: int = 12) -> Path:
    """Pictures that can be read, all different, in each of the folders."""
    for at, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            (root / folder / f"{n:02d}.png").write_bytes(picture(1000 * at + n))
    return root


def listed(root: Path, *lines: str, name: str = "list.csv", head: str = "path,label") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return root / name


def rows(path: Path, names: ClassNames | None = None, folder: Path | None = None) -> dict[str, int]:
    """The plan of a source: label by path."""
    names = names or ClassNames()
    plan, _ = Source(path, recognise(path, names), names, folder).plan(videos=False)
    return dict(zip(plan["path"].to_pylist(), plan["label"].to_pylist(), strict=True))


def rejects(path: Path, folder: Path | None = None) -> dict[str, str]:
    _, found = Source(path, recognise(path), folder=folder).plan(videos=False)
    return {reject.path: reject.reason for reject in found}


def command(text: str, out: Path) -> list[str]:
    """The first command that a refusal names, with its placeholder filled in."""
    found = re.search(r"dfd (prepare .*?)(?:$|\.?\n|, or the other|; where|\.(?: |$))", text, re.MULTILINE)
    assert found, text
    return [str(out) if word == "OUT" else word for word in shlex.split(found[1].removesuffix("."))]


@pytest.mark.parametrize(
    ("names", "real", "fake"),
    [
        (("nature", "ai"), ["nature"], ["ai"]),
        (("AI", "human"), ["human"], ["AI"]),
        (("original", "manipulated"), ["original"], ["manipulated"]),
        (("real", "stylegan", "sd15"), ["real"], ["stylegan", "sd15"]),
        (("celeb (a)", "it's made"), ["celeb (a)"], ["it's made"]),
        (("0", "1"), ["0"], ["1"]),
        (("Celeb-real", "Celeb-synthesis"), ["Celeb-real"], ["Celeb-synthesis"]),
        (("original", "Deepfakes", "Face2Face"), ["original"], ["Deepfakes", "Face2Face"]),
        (("ai",), [], ["ai"]),
    ],
)
def test_the_refusal_of_other_class_folders_names_the_command_that_reads_them(tmp_path, names, real, fake):
    root = tree(tmp_path / "set", *(f"train/{name}/a.png" for name in names))
    if "real" in names:
        tree(root, "train/real/a.png")
        found = [item for item in find_reader("class_folders")(root) if isinstance(item, Reject)]
        assert "--real or --fake stylegan" in found[-1].reason
        told = which_is_which(names, "dfd prepare SET --out OUT")
    else:
        with pytest.raises(ValueError, match=rf"(?s)It holds: train/{re.escape(sorted(names)[0])}") as error:
            recognise(root)
        told = str(error.value)
    words = command(told, tmp_path / "out")
    given = {
        option: [words[at + 1] for at, word in enumerate(words) if word == option]
        for option in ("--real", "--fake")
    }
    assert set(given["--real"]) <= set(real) and sorted(given["--fake"]) == sorted(fake)
    labels = rows(root, ClassNames(tuple(given["--real"]), tuple(given["--fake"])))
    assert labels == {f"train/{name}/a.png": REAL if name in real else FAKE for name in names}


def test_a_name_that_no_folder_has_is_said(tmp_path, caplog):
    root = tree(tmp_path / "set", "original/a.png", "ai/b.png")
    assert rows(root, ClassNames(("originals",), ("AI",))) == {"ai/b.png": FAKE}
    assert "no folder is called originals, as --real originals --fake AI says" in caplog.text
    caplog.clear()
    rows(root, ClassNames(("Original",), ("AI",)))
    assert not caplog.records


def test_zero_and_one_are_never_guessed(tmp_path):
    root = tree(tmp_path / "set", "0/a.png", "1/b.png")
    with pytest.raises(ValueError, match=r"--real 0 --fake 1; where 1 is real: .*--real 1 --fake 0"):
        recognise(root)
    assert rows(root, ClassNames(("1",), ("0",))) == {"0/a.png": FAKE, "1/b.png": REAL}
    table = listed(tmp_path / "table", "a.png,0", "b.png,1.0")
    assert rows(table) == {"a.png": REAL, "b.png": FAKE}
    assert rows(table, ClassNames(("1",), ("0",))) == {"a.png": FAKE, "b.png": REAL}
    assert "label '0' is none of" in next(
        item.reason
        for item in find_reader("table", class_names=ClassNames(("1",)))(table)
        if isinstance(item, Reject)
    ), "--real 1 alone says that 0 is not real, and no more"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("Original", "Deepfake"), "Original (2), Deepfake (2).*--real Original --fake Deepfake"),
        (("genuine", "deepfake"), "--real genuine --fake deepfake"),
        (("True", "False"), "--real False --fake True, or the other way about"),
        (("real", "generated"), "If generated is fake: .*--fake generated"),
    ],
)
def test_other_words_in_a_table_are_named_with_the_command_that_reads_them(tmp_path, words, told):
    table = listed(tmp_path, *(f"{n}.png,{word}" for n, word in enumerate(words * 2)))
    with pytest.raises(ValueError, match=told.replace("(2)", r"\(2\)")) as error:
        rows(table)
    given = command(str(error.value), tmp_path / "out")
    names = {
        option: tuple(given[at + 1] for at, word in enumerate(given) if word == f"--{option}")
        for option in ("real", "fake")
    }
    assert sorted(rows(table, ClassNames(**names)).values()) == [REAL, REAL, FAKE, FAKE]


def test_words_of_json_lines_may_be_true_and_false(tmp_path):
    table = tmp_path / "list.jsonl"
    table.write_text('{"path": "a.png", "label": true}\n{"path": "b.png", "label": false}\n')
    assert rows(table, ClassNames(("false",), ("true",))) == {"a.png": FAKE, "b.png": REAL}


def test_names_of_classes_are_for_readers_that_have_none_of_their_own(tmp_path):
    with pytest.raises(ValueError, match="knows its classes itself"):
        find_reader("ciplab", class_names=ClassNames(("a",)))
    for names in ({"real": ("a",), "fake": ("A",)}, {"real": (" ",)}):
        with pytest.raises(ValueError, match="no name is both"):
            ClassNames(**names)


def test_names_and_root_reach_the_shards_and_the_command_that_makes_them_again(tmp_path, capsys):
    pictures(tmp_path / "elsewhere", "nature", "ai")
    table = listed(
        tmp_path / "lists",
        *(f"{tmp_path}/elsewhere/nature/{n:02d}.png,N" for n in range(12)),
        *(f"ai/{n:02d}.png,A" for n in range(12)),
    )
    out = tmp_path / "out"
    options = ["--real", "N", "--fake", "A", "--root", str(tmp_path / "elsewhere"), "--workers", "1"]
    assert main(["prepare", str(table), "--out", str(out), *options]) == 0
    found = load_table(out)
    assert {row["path"].split("/")[0]: row["label"] for row in found.to_pylist()} == {
        "nature": REAL,
        "ai": FAKE,
    }
    assert prepare(table, out).already, "without the options it is the same source still"
    told = remake(out)
    assert "--real N --fake A" in told and f"--root {tmp_path}/elsewhere" in told
    assert made_by(out)["root"] == str(tmp_path / "elsewhere")


def test_a_table_opens_nothing_outside_of_its_root(tmp_path):
    pictures(tmp_path / "secret", "x", count=1)
    secret = tmp_path / "secret/x/00.png"
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link.png").symlink_to(secret)
    table = listed(
        tmp_path / "set", f"{secret},real", "../secret/x/00.png,fake", "link.png,fake", "~/a.png,real"
    )
    found = rejects(table)
    assert "outside of" in found[str(secret)] and "--root FOLDER" in found[str(secret)]
    assert "~ is not expanded" in found["~/a.png"]
    with pytest.raises(ValueError, match="leads out of the source folder"):
        prepare(table, tmp_path / "out", workers=1)
    with pytest.raises(ValueError, match=r"--root .*absent: no such folder"):
        Source(table, "table", folder=tmp_path / "absent")
    with pytest.raises(ValueError, match="--root is for paths in a table"):
        Source(tmp_path, "class_folders", folder=tmp_path)
    with pytest.raises(ValueError, match="sources are never touched"):
        prepare(table, tmp_path / "secret", root=tmp_path / "secret/x")


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("img\\a.png", "img/a.png"),
        (unicodedata.normalize("NFD", "Zoë.png"), unicodedata.normalize("NFC", "Zoë.png")),
        (unicodedata.normalize("NFC", "Zoë.png"), unicodedata.normalize("NFD", "Zoë.png")),
        ("bilder\\Zoë.png", "bilder/" + unicodedata.normalize("NFD", "Zoë.png")),
        ("a\\b.png", "a\\b.png"),
        ("~a.png", "~a.png"),
        ("a [1] 100% #2.png", "a [1] 100% #2.png"),
    ],
)
def test_paths_of_other_systems_are_found(tmp_path, written, there):
    tree(tmp_path, there)
    assert find_listed(str(tmp_path), written) == there


def test_absolute_paths_are_found_through_links_too(tmp_path):
    tree(tmp_path / "set", "img/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    for whole in (tmp_path / "set/img/a.png", tmp_path / "link/img/a.png"):
        assert find_listed(str((tmp_path / "set").resolve()), str(whole)) == "img/a.png"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("https://example.org/a.png", "an address"),
        ("C:\\sets\\img\\a.png", r"Windows machine; img/a\.png is in .*take C:/sets/ away"),
        ("/data/user/img/a.png", r"absolute path; img/a\.png is in .*take /data/user/ away, by sed"),
        ("/data/user/b.png", "nothing is there; --root FOLDER"),
    ],
)
def test_paths_of_other_machines_are_named_with_what_to_do(tmp_path, path, told):
    tree(tmp_path, "img/a.png")
    with pytest.raises(NotInFolder, match=told):
        find_listed(str(tmp_path), path)


def test_a_missing_file_is_looked_for_where_people_mean_it(tmp_path, monkeypatch):
    tree(tmp_path / "sets", "lists/list.csv", "img/A.PNG", "img/b.jpeg")
    lists = str(tmp_path / "sets/lists")
    monkeypatch.chdir(tmp_path)
    assert "from the current folder: add --root ." in why_missing(lists, "sets/img/A.PNG")
    assert f"add --root {tmp_path}/sets." in why_missing(lists, "img/A.PNG")
    here = str(tmp_path / "sets")
    assert "which has img/A.PNG: large and small" in why_missing(here, "img/a.png")
    assert "which has img/b.jpeg" in why_missing(here, "img/b.jpg")
    assert "which has img/A.PNG: take x/ away" in why_missing(here, "x/img/A.PNG")
    assert "was looked for in" in why_missing(here, "x/y.png")


@pytest.mark.slow
def test_the_refusal_says_where_the_files_were_looked_for_and_its_advice_works(tmp_path, monkeypatch):
    pictures(tmp_path / "sets", "img/real", "img/fake")
    lines = [f"img/{label}/{n:02d}.png,{label}" for label in ("real", "fake") for n in range(12)]
    table = listed(tmp_path / "sets/lists", *lines)
    with pytest.raises(
        ValueError, match=r"24 x cannot be opened: .*\(first img/.*add --root (\S+)\.\n"
    ) as error:
        prepare(table, tmp_path / "out", workers=1)
    folder = re.search(r"add --root (\S+)\.\n", str(error.value))[1]
    assert prepare(table, tmp_path / "out", workers=1, root=Path(folder)).images == 24


def test_pictures_behind_a_link_are_read_where_their_folder_is_named(tmp_path):
    pictures(tmp_path / "disk/faces", "real", "fake")
    table = listed(
        tmp_path / "lists",
        *(f"img/{label}/{n:02d}.png,{label}" for label in ("real", "fake") for n in range(12)),
    )
    (tmp_path / "lists/img").symlink_to(tmp_path / "disk/faces")
    with pytest.raises(
        ValueError, match=r"img/\w+/\d+.png is a link to (\S+): add --root (\S+) or a folder above"
    ):
        prepare(table, tmp_path / "out", workers=1)
    report = prepare(table, tmp_path / "out", workers=1, root=tmp_path / "disk")
    assert report.images == 24 and "faces/real/00.png" in load_table(tmp_path / "out")["path"].to_pylist()


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("set.zip", b"PK\x03\x04" + bytes(40), "is a zip archive.*unzip .*set.zip -d FOLDER"),
        ("face.png", picture(0), "is a picture.*name the folder that holds"),
        ("film.mp4", b"\0\0\0\x20ftypisom" + bytes(20), "is a video.*--frames 16"),
        ("set.tar", bytes(257) + b"ustar\0" + bytes(249), "is a tar.*dfd index"),
        ("list.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        ("list.json", b'[{"path": "a.png", "label": 0}]', "is one JSON array; needed is an object a line"),
        ("list.csv", "path,label\nMüller.png,real\n".encode("cp1252"), "not UTF-8.*iconv -f CP1252 -t UTF-8"),
        (
            "list.csv",
            b"filename,target\na.png,0\n",
            "it has filename, target. Is filename meant for path.*Is target",
        ),
        ("list.csv", "path,label\na.png,real\n".encode("utf-16-le"), "without its mark.*iconv -f UTF-16LE"),
        ("list.csv", b"", "is empty"),
        ("data.bin", bytes(range(256)), "neither a folder nor a table"),
        ("list.csv", b"path,label,Path\na.png,0,b\n", "the column path comes twice"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, name, data, told):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"(?s){told}"):
        prepare(tmp_path / name, tmp_path.parent / f"{tmp_path.name}-out", workers=1)


def test_the_commands_of_two_refusals_are_run(tmp_path):
    """A JSON array becomes lines, and a parquet file of Hugging Face pictures in folders."""
    array = tmp_path / "list.json"
    array.write_text('[{"path": "a.png", "label": 0}, {"path": "b.png", "label": 1}]')
    lines = [{"image": {"bytes": picture(n), "path": None}, "label": n % 2} for n in range(6)]
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": {"label": {"names": ["x", "y"], "_type": "ClassLabel"}}}})},
    )  # fmt: skip
    (tmp_path / "hf/data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(lines, schema), tmp_path / "hf/data/train-00000-of-00001.parquet")
    with pytest.raises(ValueError) as error:
        list(find_reader(recognise(array))(array))
    run = re.search(r"python -c .*", str(error.value))[0].replace("NEW.jsonl", str(tmp_path / "new.jsonl"))
    subprocess.run(run.replace("python", sys.executable, 1), shell=True, check=True)
    assert rows(tmp_path / "new.jsonl") == {"a.png": REAL, "b.png": FAKE}
    with pytest.raises(
        ValueError, match=r"(?s)parquet file: its columns are image, label.*0 is x, 1 is y"
    ) as error:
        recognise(tmp_path / "hf")
    run = re.search(r'(?s)python -c ".*?"', str(error.value))[0].replace("FOLDER", str(tmp_path / "made"))
    subprocess.run(run.replace("python", sys.executable, 1), shell=True, check=True)
    made = rows(tmp_path / "made", ClassNames(("0",), ("1",)))
    assert sorted(made.values()) == [REAL] * 3 + [FAKE] * 3
    assert sorted({path.rpartition("/")[0] for path in made}) == ["train/0", "train/1"]
    assert shortened(str(error.value)).splitlines() == str(error.value).splitlines(), (
        "the screen cuts nothing off"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "filename,target\na.png,0\n",
            "Is filename meant for path.*sed '1s/filename/path/i;1s/target/label/i' ",
        ),
        ("path|label\na.png|0\nb.png|1\n", r"separated by \|"),
        ("a.png,0\nb.png,1\n", "its first line lists a file"),
        ("a.png 0\nb.png 1\n", "its cells are separated by blanks"),
        ("path,is_real\na.png,1\nb.png,0\n", "and then --real 1 --fake 0"),
    ],
)
def test_the_command_that_mends_a_header_is_run(tmp_path, text, told):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=told) as error:
        rows(tmp_path / "list.csv")
    run = re.search(r"(\(echo|sed '1s|tr '\|').*> NEW.csv", str(error.value))[0]
    subprocess.run(run.replace("NEW.csv", str(tmp_path / "new.csv")), shell=True, check=True)
    names = ClassNames(("1",), ("0",)) if "is_real" in text else None
    assert set(rows(tmp_path / "new.csv", names)) >= {"a.png"}


def test_commands_to_be_copied_hold_no_words_of_strangers(tmp_path):
    """A column's name, or a path of a table, could end a quoted word."""
    struct = pa.struct([("bytes", pa.binary())])
    table = pa.table({"x'); import os; ('": pa.array([{"bytes": b""}], struct), "label": [0]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="export the pictures into folders real and fake") as error:
        recognise(tmp_path / "a.parquet")
    assert "python -c" not in str(error.value)
    tree(tmp_path, "a.png")
    with pytest.raises(NotInFolder, match=r"take .* away") as error:
        find_listed(str(tmp_path), "/x'; rm -rf $HOME; '/a.png")
    assert "sed" not in str(error.value)
    tree(tmp_path / "set", "$(rm x)/a.png", "b'c/b.png")
    with pytest.raises(ValueError, match="Say which is which") as error:
        recognise(tmp_path / "set")
    assert "'$(rm x)'" in str(error.value)


def test_utf_16_of_a_spreadsheet_is_read(tmp_path):
    (tmp_path / "list.csv").write_text("path\tlabel\nZoë.png\treal\n", encoding="utf-16")
    assert rows(tmp_path / "list.csv") == {"Zoë.png": REAL}


def test_bad_letters_are_listed_with_their_line(tmp_path):
    table = listed(
        tmp_path,
        "a.png,real,,",
        "b\0.png,fake,,",
        "c.png,fake,\x1b[2J,",
        "d.png,fake,,sw\x07ap",
        head="path,label,source,method",
    )
    assert rows(table) == {"a.png": REAL}
    assert rejects(table) == {
        "list.csv:3": "path 'b\\x00.png' has a NUL",
        "list.csv:4": "source '\\x1b[2J' has letters that cannot be printed",
        "list.csv:5": "method 'sw\\x07ap' has letters that cannot be printed",
    }
    (tmp_path / "list.csv").unlink()
    table = tmp_path / "list.jsonl"
    table.write_text('{"path": "a.png", "label": 0}\n{"path": "\\ud800.png", "label": 0}\n')
    assert list(rejects(table)) == ["list.jsonl:2"]


def test_a_folder_with_a_name_that_cannot_be_printed_is_read(tmp_path):
    root = tree(tmp_path / "se\x1bt", "real/a.png", "fake/b.png")
    plan, _ = Source(root, "class_folders").plan(videos=False)
    assert plan["source"].to_pylist() == ["se\\x1bt"] * 2


@pytest.mark.usefixtures("messages_on_stderr")
def test_a_doubled_line_is_taken_once_and_said(tmp_path, capsys):
    table = listed(tmp_path, "a.png,real", "./a.png,real", "b.png,fake")
    assert rows(table) == {"a.png": REAL, "b.png": FAKE}
    assert "1 rows name a picture once more" in capsys.readouterr().err


@pytest.mark.usefixtures("messages_on_stderr")
@pytest.mark.parametrize(
    ("paths", "splits", "told"),
    [
        (["real/coco/train2017/a.png", "real/coco/val2017/b.png", "fake/sd/c.png"], {None}, "1 real|taken as parts"),
        (["train/real/a.png", "test/real/b.png", "fake/c.png"], {None}, "0 of 1 fake pictures: taken as parts"),
        (["train/real/a.png", "val/fake/b.png", "more/fake/c.png"], {"train", "val", None}, "1 of 2 fake pictures: the others"),
        (["test/fake/a.png", "test/fake/b.png"], {"test"}, ""),
        (["real/train/a.png", "fake/train/b.png"], {"train"}, ""),
    ],
)  # fmt: skip
def test_splits_of_one_class_alone_are_none(tmp_path, capsys, paths, splits, told):
    tree(tmp_path, *paths)
    plan, _ = Source(tmp_path, "class_folders").plan(videos=False)
    assert set(plan["split"].to_pylist()) == splits
    said = [line for line in capsys.readouterr().err.splitlines() if "splits are stated for" in line]
    assert len(said) == bool(told) and (not told or re.search(told, said[0]))


@pytest.mark.usefixtures("messages_on_stderr")
def test_splits_that_a_table_states_for_a_part_stay_and_are_said(tmp_path, capsys):
    table = listed(tmp_path, "a.png,real,test", "b.png,fake,", head="path,label,split")
    plan, _ = Source(table, "table").plan(videos=False)
    assert sorted(map(str, plan["split"].to_pylist())) == ["None", "test"]
    assert "1 of 1 real pictures, 0 of 1 fake pictures: the others go by the hash" in capsys.readouterr().err


@pytest.mark.usefixtures("messages_on_stderr")
def test_the_splits_of_the_field_are_known_and_others_are_said(tmp_path, capsys):
    tree(
        tmp_path,
        *(f"{split}/{label}/a.png" for split in ("TRAIN", "dev", "Testing") for label in ("real", "fake")),
    )
    plan, _ = Source(tmp_path, "class_folders").plan(videos=False)
    assert sorted(plan["split"].to_pylist()) == ["test"] * 2 + ["train"] * 2 + ["val"] * 2
    assert "beside those of splits" not in capsys.readouterr().err
    tree(tmp_path, "Eval/Real/a.png")
    list(find_reader("class_folders")(tmp_path))
    assert "beside those of splits that name none: Eval." in capsys.readouterr().err


@pytest.mark.usefixtures("messages_on_stderr")
def test_folders_that_mean_nothing_are_said(tmp_path, capsys):
    tree(tmp_path, "real/alice/a.png", "fake/stylegan/b.png", "fake/train/c.png", "real/train/d.png")
    list(find_reader("class_folders")(tmp_path))
    assert "mean nothing to dfd: fake/stylegan, real/alice." in capsys.readouterr().err


def test_what_systems_leave_behind_is_no_picture(tmp_path):
    tree(
        tmp_path / "set", "real/a.png", "fake/b.png", "real/._a.png", "real/@eaDir/a.png/THUMB_M.jpg",
        "__MACOSX/set/real/._a.png", "__MACOSX/fake/x.png", "fake/Thumbs.db", "real/desktop.ini", "real/.DS_Store",
    )  # fmt: skip
    assert rows(tmp_path / "set") == {"real/a.png": REAL, "fake/b.png": FAKE}
    assert not Source(tmp_path / "set", "class_folders").not_tried()
    table = listed(tmp_path / "table", "a.png,real", "b.png,fake")
    (table.parent / "._list.csv").write_bytes(b"\0\x05\x16\x07")
    assert recognise(table.parent) == "table"
    table = listed(tmp_path / "table", "a.png,real", "x/._a.png,real", "__MACOSX\\b.png,fake", "b.png,fake")
    assert rows(table) == {"a.png": REAL, "b.png": FAKE} and not rejects(table)


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", ".dfd.part-0123abcd", "rejected.csv.part-0123abcd"]
)
def test_litter_in_the_output_is_nobodys_shards(tmp_path, name):
    pictures(tmp_path / "set", "real", "fake", count=2)
    tree(tmp_path / "out", name)
    assert prepare(tmp_path / "set", tmp_path / "out", workers=1).images == 4


def test_a_source_that_is_no_path_is_named(tmp_path):
    for source, told in (("https://example.org/set.zip", "is an address"), ("~/sets", "write .HOME")):
        with pytest.raises(ValueError, match=told):
            prepare(Path(source), tmp_path / "out")


@pytest.mark.parametrize("text", ["[]", '"text"', "null", "[" * 100_000, "{}", '{"made_by": 3}', "\xff"])
def test_any_index_json_may_lie_in_a_source(tmp_path, text):
    root = tree(tmp_path / "set", "real/a.png", "fake/b.png", "samples.parquet")
    (root / "index.json").write_text(text, encoding="latin-1")
    assert made_by(root) == {}
    pipeline.check_folders(root, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "told"),
    [("set/train/real", "set/train"), ("", "set"), ("celeb/Celeb-real", "celeb"), ("up", "celeb")],
)
def test_another_level_of_a_known_layout_is_named(tmp_path, name, told):
    if name.startswith("celeb") or name == "up":
        tree(tmp_path / "up/celeb", "Celeb-real/id0_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4")
        root, told = tmp_path / "up" / name.removeprefix("up"), f"up/{told}"
    else:
        tree(tmp_path / "set", "train/real/a.png", "train/fake/b.png")
        root = tmp_path / name
    if not name:
        tree(tmp_path, "one/two/three/four.txt")
        root = tmp_path / "set/train/real"
        told = "set/train"
    with pytest.raises(ValueError, match=rf"{tmp_path / told} has the layout of \w+: dfd prepare"):
        recognise(root)


def test_a_set_of_one_class_becomes_shards_and_its_report_says_what_for(tmp_path):
    root = pictures(tmp_path / "set", "test/fake")
    report = prepare(root, tmp_path / "out", workers=1)
    assert report.classes == {"real": 0, "fake": 12} and report.splits["test"] == {"real": 0, "fake": 12}
    assert "All pictures are fake. `dfd fit`" in str(
        report
    ) and f"--data.roots '[{tmp_path / 'out'}, " in str(report)
    (root / "test/real").mkdir()
    (root / "test/real/a.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match="of the real ones none is left"):
        prepare(root, tmp_path / "other", workers=1, max_rejected=0.5)


@pytest.mark.slow
def test_more_may_be_rejected_where_it_is_said(tmp_path):
    root = pictures(tmp_path / "set", "real", "fake")
    for n in range(3):
        (root / "real" / f"{n:02d}.png").write_bytes(b"broken")
    with pytest.raises(
        ValueError, match=r"(?s)3 of 24 files were rejected .*--max-rejected (0\.13)\.$"
    ) as error:
        prepare(root, tmp_path / "out", workers=1)
    share = float(re.search(r"--max-rejected (\S+)\.$", str(error.value))[1])
    report = prepare(root, tmp_path / "out", workers=1, max_rejected=share)
    assert (report.images, report.rejected) == (21, 3)
    with pytest.raises(ValueError, match="a share from 0 to below 1"):
        prepare(root, tmp_path / "out", max_rejected=1.0)


def test_a_picture_of_equal_size_and_time_is_another_one(tmp_path):
    root = tmp_path / "set"
    for label in ("real", "fake"):
        pictures(root, label, count=0)
        for n in range(4):
            (root / label / f"{n}.bmp").write_bytes(picture(n + 10 * (label == "fake"), "BMP"))
    out, file = tmp_path / "out", root / "real/0.bmp"
    prepare(root, out, workers=1)
    os.utime(file)
    assert prepare(root, out).already, "touched alone, it is the same"
    times = file.stat()
    file.write_bytes(picture(99, "BMP"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match=r"1 changed \(first real/0.bmp: its bytes\)"):
        prepare(root, out)
    root.rename(tmp_path / "old")
    for label in ("real", "fake"):
        pictures(root, label, count=0)
        for n in range(4):
            (root / label / f"{n}.bmp").write_bytes(picture(n + 50 * (label == "fake"), "BMP"))
    with pytest.raises(ValueError, match="4 changed"):
        prepare(root, out)


def killing(task) -> None:
    os.kill(os.getpid(), 9)


def test_a_killed_worker_is_said_in_one_sentence(tmp_path, monkeypatch, capsys):
    pictures(tmp_path / "set", "real", "fake", count=2)
    monkeypatch.setattr("dfd.prepare.passes.inspect_chunk", killing)
    assert main(["prepare", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("dfd prepare: a worker process was killed") and "Traceback" not in told


def test_pictures_that_are_no_face_crops_are_said(tmp_path, real_data, real_weights):
    assert not str(FaceSample(32, 10, 6)) and "10 show no face and 7 only" in str(FaceSample(32, 10, 7))
    faces = sorted((real_data / "140k-real-and-fake-faces").rglob("*.jpg"))[:6]
    (tmp_path / "set").mkdir()
    for n, file in enumerate(faces):
        whole = Image.open(file).resize((64, 64))
        scene = Image.new("RGB", (640, 480), (90, 120, 90))
        scene.paste(whole, (200, 200))
        scene.save(tmp_path / "set" / f"small{n}.png")
        Image.open(file).save(tmp_path / "set" / f"crop{n}.png")
    weights = real_weights / "yunet_n_640_640.onnx"

    def sample(name: str) -> FaceSample:
        paths = [f"{name}{n}.png" for n in range(len(faces))]
        return sample_faces(str(tmp_path / "set"), pa.table({"key": paths, "path": paths}), weights)

    assert not str(sample("crop")) and sample("crop").num == len(faces)
    assert "a detector of faces wants" in str(sample("small"))


def test_real_rows_carry_what_their_readers_say(tmp_path):
    """Kaggle's DFDC: labels and videos that disagree with one another are listed."""
    part = tmp_path / "dfdc_train_part_0"
    tree(part, "a.mp4", "b.mp4", "extra.mp4")
    tree(tmp_path / "test_videos", "x.mp4")
    facts = {
        "a.mp4": {"label": "REAL", "split": "train"},
        "b.mp4": {"label": "FAKE", "split": "train"},
        "gone.mp4": {"label": "REAL", "split": "train"},
        "odd.mp4": {"label": "maybe"},
    }
    (part / "metadata.json").write_text(json.dumps(facts))
    tree(part, "odd.mp4")
    found = list(find_reader(recognise(tmp_path))(tmp_path))
    assert [item.path for item in found if isinstance(item, Row)] == ["dfdc_train_part_0/a.mp4"]
    reasons = {Path(item.path).name: item.reason for item in found if isinstance(item, Reject)}
    assert set(reasons) == {"b.mp4", "extra.mp4", "gone.mp4", "odd.mp4"}
    (part / "metadata.json").write_text('{"a.mp4": {"label": "REAL"')
    with pytest.raises(ValueError, match="does not map videos to labels"):
        list(find_reader("dfdc")(tmp_path))


def test_celeb_df_believes_neither_list_nor_folder_alone(tmp_path):
    tree(tmp_path, "Celeb-real/id0_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4", "YouTube-real/odd.mp4")
    told = tmp_path / "List_of_testing_videos.txt"
    told.write_text("0 Celeb-real/id0_0000.mp4\n1 YouTube-real/00001.mp4\n")
    found = list(find_reader(recognise(tmp_path))(tmp_path))
    reasons = {item.path: item.reason for item in found if isinstance(item, Reject)}
    assert "says fake, its folder Celeb-real" in reasons["Celeb-real/id0_0000.mp4"]
    assert set(reasons) == {"Celeb-real/id0_0000.mp4", "YouTube-real/odd.mp4", "YouTube-real/00001.mp4"}
    told.write_text("Celeb-real/id0_0000.mp4\n")
    with pytest.raises(ValueError, match="line 1 is 'Celeb-real"):
        list(find_reader("celeb_df")(tmp_path))
    told.unlink()
    assert {item.split for item in find_reader("celeb_df")(tmp_path) if isinstance(item, Row)} == {None}


@pytest.mark.slow
def test_two_sets_of_one_class_train_together_as_their_reports_advise(tmp_path):
    from dfd.data import ShardDataModule

    reports = [
        prepare(
            pictures(tmp_path / label, f"train/{label}", f"val/{label}"), tmp_path / f"{label}-out", workers=1
        )
        for label in ("real", "fake")
    ]
    roots = [str(report.out) for report in reports]
    assert all("--data.roots" in str(report) for report in reports)
    ShardDataModule(roots, num_workers=0).setup("fit")
    with pytest.raises(ValueError, match="Add a root whose train split has fake ones"):
        ShardDataModule(roots[:1], num_workers=0).setup("fit")
