import json
import sys
from pathlib import Path

import pytest

from dfd.batch import FAKE, REAL
from dfd.data.readers import BUILT_IN, Reject, Row, find_reader, recognise
from dfd.data.readers.row import label_of, split_of


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def read(root: Path, reader: str | None = None) -> list[Row | Reject]:
    return list(find_reader(reader or recognise(root))(root))


def facts(found: list[Row | Reject]) -> dict[str, tuple]:
    return {item.path: (item.split, item.label) for item in found if isinstance(item, Row)}


@pytest.mark.parametrize(
    ("path", "split", "label"),
    [
        ("train/real/a.jpg", "train", REAL),
        ("Test/Fake/a.JPG", "test", FAKE),
        ("Dataset/Validation/Real/a.png", "val", REAL),
        ("data/valid/fake/deep/er/a.webp", "val", FAKE),
        ("Training/0_real/a.jpg", "train", REAL),
        ("fake/val/a.jpg", "val", FAKE),
        ("real_images/a.jpg", None, REAL),
        ("1_fake/a", None, FAKE),
        ("testing_fake/a.jpg", "test", FAKE),
    ],
)
def test_class_folders_with_or_without_splits(tmp_path, path, split, label):
    tree(tmp_path, path, "train/real/other.jpg", "train_fake/other.jpg", "test/fake/another.jpg", "test_real/another.jpg")
    assert facts(read(tmp_path))[path] == (split, label)


def test_one_split_in_the_class_names_divides_nothing(tmp_path):
    tree(tmp_path, "faces/training_real/a.jpg", "faces/training_fake/b.jpg")
    assert facts(read(tmp_path)) == {"faces/training_real/a.jpg": (None, REAL), "faces/training_fake/b.jpg": (None, FAKE)}


@pytest.mark.parametrize("name", ["really", "surreal", "not_real_or_fake", "real_vs_fake", "realistic", "train", "original"])
def test_a_folder_that_is_not_surely_a_class_is_none(name):
    assert label_of(name) is None


@pytest.mark.parametrize("name", ["traintest", "test_train", "constest", "real", "validity"])
def test_a_folder_that_is_not_surely_a_split_is_none(name):
    assert split_of(name) is None


def test_what_is_ambiguous_is_listed(tmp_path):
    outside = tree(tmp_path / "outside", "c.jpg")
    root = tree(
        tmp_path / "set", "real/a.jpg", "fake/b.jpg", "fake/real/c.jpg", "stray.jpg", "train/test/fake/d.jpg",
        "real/.DS_Store", "real/notes.txt", "readme.md",
    )  # fmt: skip
    (root / "real" / "linked").symlink_to(outside)
    found = read(root)
    assert facts(found) == {"real/a.jpg": (None, REAL), "fake/b.jpg": (None, FAKE)}
    reasons = {item.path: item.reason for item in found if isinstance(item, Reject)}
    assert set(reasons) == {"fake/real", "stray.jpg", "train/test", "real/linked"}


LINES = [
    {"path": "a.png", "label": "real", "groups": "p1", "split": "train", "source": "here", "method": "", "mask": ""},
    {
        "path": "b.png",
        "label": "FAKE",
        "groups": "p1; p2",
        "split": "Validation",
        "source": "",
        "method": "swap",
        "mask": "b.m",
    },
    {"path": "c.png", "label": "0", "groups": "", "split": "", "source": "", "method": "", "mask": ""},
    {"path": "d.png", "label": "1", "groups": "p3", "split": "test", "source": "", "method": "", "mask": ""},
]
ROWS = [
    Row("a.png", REAL, ("p1",), "train", "here", "", None),
    Row("b.png", FAKE, ("p1", "p2"), "val", "", "swap", "b.m"),
    Row("c.png", REAL),
    Row("d.png", FAKE, ("p3",), "test"),
]


def csv_text(lines: list[dict]) -> str:
    return "\n".join([",".join(lines[0]), *(",".join(line.values()) for line in lines)]) + "\n"


def test_csv_and_json_lines_say_the_same(tmp_path):
    for name in ("csv", "jsonl"):
        (tmp_path / name).mkdir()
    (tmp_path / "csv" / "list.csv").write_text("\ufeff" + csv_text(LINES).replace("path,label", " Path ,LABEL", 1))
    as_json = [{name: value or None for name, value in line.items()} for line in LINES]
    as_json[1]["groups"], as_json[2]["label"] = ["p2", "p1"], 0
    (tmp_path / "jsonl" / "list.jsonl").write_text("\n\n".join(json.dumps(line) for line in as_json))
    for name in ("csv", "jsonl"):
        assert recognise(tmp_path / name) == "table"
        assert read(tmp_path / name) == ROWS
        assert read(next((tmp_path / name).iterdir()), "table") == ROWS, "the file itself may be named"


def test_bad_lines_are_listed_and_the_others_read(tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,label,split\na.png,real,\nb.png,perhaps,\n,fake,\nd.png,fake\ne.png,fake,holdout\n"
    )
    found = read(tmp_path)
    assert facts(found) == {"a.png": (None, REAL)}
    assert [item.path for item in found[1:]] == ["b.png", "list.csv:4", "list.csv:5", "e.png"]
    (tmp_path / "list.csv").rename(tmp_path / "old")
    (tmp_path / "list.jsonl").write_text('{"path": "a.png", "label": 1}\nnot json\n[1]\n{"path": "b.png", "label": true}\n')
    assert [type(item) for item in read(tmp_path)] == [Row, Reject, Reject, Reject]


def test_a_table_without_its_columns_is_an_error(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\na.png,real\n")
    with pytest.raises(ValueError, match=r"lacks the column path; it has file, label"):
        read(tmp_path / "list.csv", "table")
    with pytest.raises(ValueError, match="found: none"):
        read(tmp_path, "table")
    (tmp_path / "list.csv").write_bytes(b"path,label\n" + b"a.png,real\n" * 2000 + b"\xff\xfe.png,fake\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        read(tmp_path / "list.csv", "table")


def test_two_tables_are_not_chosen_between(tmp_path):
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(csv_text(LINES))
    with pytest.raises(ValueError, match=r"one\.csv, two\.csv"):
        read(tmp_path)


def test_links_in_place_of_all_classes_are_named(tmp_path):
    tree(tmp_path / "elsewhere", "real/a.jpg", "fake/b.jpg")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"set/train itself: a link to a folder is not followed; cp -rL"):
        recognise(tmp_path / "set")


def test_an_unknown_layout_names_what_was_expected(tmp_path):
    tree(tmp_path, "a/b.jpg")
    with pytest.raises(ValueError) as error:
        recognise(tmp_path)
    assert all(name in str(error.value) for name in BUILT_IN) and str(tmp_path / "train" / "real") in str(error.value)
    assert len(str(error.value).splitlines()) == len(BUILT_IN) + 2


def test_readers_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_reader.py").write_text(
        "from dfd.data.readers import Row\ndef rows(root):\n    yield Row('x.png', 1)\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert list(find_reader("my_reader:rows")(tmp_path)) == [Row("x.png", FAKE)]
    for wrong in ("nothing", "my_reader:absent", "no_such_module:rows", "my_reader:number"):
        with pytest.raises(ValueError, match="reader"):
            find_reader(wrong)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    yield Row('a.png', 1)\n    yield Row('b.png', {}['b'])", "KeyError: 'b' (FILE:5)"),
        ("    yield Row(json.loads('{'), 1)", "JSONDecodeError: Expecting property name enclosed in double quotes: "),
        ("    raise ValueError('no list.txt')", "ValueError: no list.txt (FILE:4)"),
        ("    yield Row(root / 'a.png', 1)", "path is a str"),
        ("    yield Row('a.png', 1, 'anna')", "groups a tuple of str (FILE:4)"),
        ("    yield 'a.png', 1", "TypeError: it yields ('a.png', 1); needed is a dfd.data.readers.Row or Reject (FILE:3)"),
        ("    Row('a.png', 1)", "'NoneType' object is not iterable (FILE:3)"),
        ("    pass\n1 / 0", "cannot be imported: ZeroDivisionError: division by zero (FILE:5)"),
        ("    yield (", "cannot be imported: SyntaxError: '(' was never closed (FILE:4)"),
    ],
)
def test_what_fails_in_a_reader_of_ones_own_is_told_with_its_line(tmp_path, monkeypatch, body, words):
    file = tmp_path / "failing_reader.py"
    file.write_text(f"import json\nfrom dfd.data.readers import Row\ndef rows(root):\n{body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_reader", raising=False)
    with pytest.raises(ValueError, match=r"reader 'failing_reader:rows' (failed on|cannot be imported)") as error:
        list(find_reader("failing_reader:rows")(tmp_path))
    assert words.replace("FILE", str(file)) in str(error.value) and str(file) in str(error.value)
