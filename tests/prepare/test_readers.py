import json
import sys
from pathlib import Path

import pytest

from dfd.batch import FAKE, REAL
from dfd.cli.error_messages import shortened
from dfd.prepare.readers import BUILT_IN, Reject, Row, find_reader, recognise
from dfd.prepare.readers.row import label_of, split_of


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
    tree(
        tmp_path,
        path,
        "train/real/other.jpg",
        "train_fake/other.jpg",
        "test/fake/another.jpg",
        "test_real/another.jpg",
    )
    assert facts(read(tmp_path))[path] == (split, label)


def test_one_split_in_the_class_names_divides_nothing(tmp_path):
    tree(tmp_path, "faces/training_real/a.jpg", "faces/training_fake/b.jpg")
    assert facts(read(tmp_path)) == {
        "faces/training_real/a.jpg": (None, REAL),
        "faces/training_fake/b.jpg": (None, FAKE),
    }


@pytest.mark.parametrize(
    "name", ["really", "surreal", "not_real_or_fake", "real_vs_fake", "realistic", "train", "original"]
)
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
    {
        "path": "a.png",
        "label": "real",
        "groups": "p1",
        "split": "train",
        "source": "here",
        "method": "",
        "mask": "",
    },
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
    (tmp_path / "csv" / "list.csv").write_text(
        "\ufeff" + csv_text(LINES).replace("path,label", " Path ,LABEL", 1)
    )
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
    (tmp_path / "list.jsonl").write_text(
        '{"path": "a.png", "label": 1}\nnot json\n[1]\n{"path": "b.png", "label": true}\n'
        '{"path": "c.png", "label": 0}\n'
    )
    assert [type(item) for item in read(tmp_path)] == [Row, Reject, Reject, Reject, Row]


def test_a_table_without_its_columns_is_an_error(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\na.png,real\n")
    with pytest.raises(
        ValueError, match=r"lacks the column path; it has file, label\. Is file meant for path\? It needs"
    ):
        read(tmp_path / "list.csv", "table")
    (tmp_path / "list.csv").write_text("path,target\na.png,0\n")
    with pytest.raises(
        ValueError, match=r"Is target meant for label\? It needs the columns path and label: rename those"
    ):
        recognise(tmp_path)
    with pytest.raises(ValueError, match="found: none"):
        read(tmp_path, "table")
    (tmp_path / "list.csv").write_text("path,label\n\n")
    with pytest.raises(
        ValueError, match=r"list\.csv has no line below its header\. Each line names a picture"
    ):
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
    assert all(name in str(error.value) for name in BUILT_IN) and str(tmp_path / "train" / "real") in str(
        error.value
    )
    lines = shortened(f"dfd prepare: {error.value}").splitlines()
    assert lines[1:] == str(error.value).splitlines()[1:] and len(lines) <= 10, (
        "nothing is cut off on the screen"
    )
    assert lines[0].endswith("It holds: a (1 picture).") and lines[1] == "Expected:"
    assert (
        lines[2]
        == f"  class_folders: {tmp_path / 'real'} and {tmp_path / 'fake'}, or {tmp_path / 'train/real'} and so on"
    )
    assert lines[3].startswith(
        f"  table: {tmp_path / 'samples.csv'} or .jsonl with the columns path and label"
    )


def test_readers_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_reader.py").write_text(
        "from dfd.prepare.readers import Row\ndef rows(root):\n    yield Row('x.png', 1)\nnumber = 3\n"
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
        (
            "    yield Row(json.loads('{'), 1)",
            "JSONDecodeError: Expecting property name enclosed in double quotes: ",
        ),
        ("    raise ValueError('no list.txt')", "ValueError: no list.txt (FILE:4)"),
        ("    yield Row(root / 'a.png', 1)", "path is a str"),
        ("    yield Row('a.png', 1, 'anna')", "groups a tuple of str (FILE:4)"),
        (
            "    yield 'a.png', 1",
            "TypeError: it yields ('a.png', 1); needed is a dfd.prepare.readers.Row or Reject (FILE:3)",
        ),
        ("    Row('a.png', 1)", "'NoneType' object is not iterable (FILE:3)"),
        ("    pass\n1 / 0", "cannot be imported: ZeroDivisionError: division by zero (FILE:5)"),
        ("    yield (", "cannot be imported: SyntaxError: '(' was never closed (FILE:4)"),
    ],
)
def test_what_fails_in_a_reader_of_ones_own_is_told_with_its_line(tmp_path, monkeypatch, body, words):
    file = tmp_path / "failing_reader.py"
    file.write_text(f"import json\nfrom dfd.prepare.readers import Row\ndef rows(root):\n{body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_reader", raising=False)
    with pytest.raises(
        ValueError, match=r"reader 'failing_reader:rows' (failed on|cannot be imported)"
    ) as error:
        list(find_reader("failing_reader:rows")(tmp_path))
    assert words.replace("FILE", str(file)) in str(error.value) and str(file) in str(error.value)


def write_table(folder: Path, text: str, name: str = "list.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("grup", "group"),
        ("gruop", "group"),
        ("Group_ID", "group"),
        ("spilt", "split"),
        ("msak", "mask"),
        ("methd", "method"),
    ],
)
def test_a_misspelt_column_stops_the_reading(tmp_path, column, meant):
    table = write_table(tmp_path, f"path,label,{column}\na.png,real,anna\n")
    with pytest.raises(
        ValueError, match=rf"list\.csv: column {column.lower()}: did you mean {meant}\? Rename it"
    ):
        read(table, "table")
    lines = [{"path": "a.png", "label": 1}, {"path": "b.png", "label": 0, column: "anna"}]
    table = write_table(tmp_path, "\n".join(map(json.dumps, lines)), "list.jsonl")
    with pytest.raises(ValueError, match=f"did you mean {meant}"):
        read(table, "table")


@pytest.mark.usefixtures("messages_on_stderr")
def test_columns_of_no_use_are_named_in_one_line(tmp_path, capsys):
    told = "columns that are not used: person, original_path, original (it is for videos). Name in a column group what"
    table = write_table(
        tmp_path, "path,label,person,,original_path,original\na.png,real,anna,,x,b.png\nb.png,fake,anna,,y,\n"
    )
    assert facts(read(table, "table")) == {"a.png": (None, REAL), "b.png": (None, FAKE)}
    said = capsys.readouterr().err
    assert f"{table}: {told}" in said and said.count("\n") == 1
    read(write_table(tmp_path, "path,label,group,labels\na.png,real,anna,x\n"), "table")
    assert capsys.readouterr().err == f"{table}: columns that are not used: labels.\n"
    read(write_table(tmp_path, "path,label,group\na.png,real,anna\n"), "table")
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="the column group comes twice"):
        read(write_table(tmp_path, "path,label,group,group\na.png,real,anna,b\n"), "table")


@pytest.mark.usefixtures("messages_on_stderr")
def test_how_numbers_are_read_as_labels_is_said(tmp_path, capsys):
    table = write_table(tmp_path, "path,label\na.png,0\nb.png,1\nc.png,1\nd.png,fake\n")
    read(table, "table")
    told = "labels read: 0 as real (1), 1 as fake (2). If 1 is real there: --real 1 --fake 0."
    assert capsys.readouterr().err == f"{table}: {told}\n"
    read(write_table(tmp_path, "path,label,label_str\na.png,0,real\nb.png,1,fake\n"), "table")
    assert capsys.readouterr().err == "", "words say what the numbers mean"


def test_an_empty_class_is_named(tmp_path):
    tree(tmp_path, "train/real/a.jpg", "train/fake/b.JPG_", "test/fake/.c.jpg", "test/real/d.jpg")
    told = r"test/fake, train/fake hold no picture; 2 files not tried .*: test/fake/\.c\.jpg, train/fake/b\.JPG_\. A detector"
    with pytest.raises(ValueError, match=told):
        read(tmp_path)
    tree(tmp_path, "train/fake/b.jpg")
    assert len(read(tmp_path)) == 3, "one empty folder of a class that has others is none"


def test_group_and_groups_both_count(tmp_path):
    table = write_table(tmp_path, "path,label,group,groups\na.png,real,p2,p1;p3\n")
    assert read(table, "table")[0].groups == ("p1", "p2", "p3")


def test_an_original_that_is_not_there_is_rejected(tmp_path):
    text = "path,label,original\n./real/a.mp4,real,real/a.mp4\nb.mp4,fake,./real/a.mp4\nc.mp4,fake,real/aa.mp4\nd.mp4,fake,b.mp4\n"
    found = read(write_table(tmp_path, text), "table")
    assert [(row.path, row.original) for row in found if isinstance(row, Row)] == [
        ("./real/a.mp4", None), ("b.mp4", "real/a.mp4"),
    ]  # fmt: skip
    reasons = {item.path: item.reason for item in found if isinstance(item, Reject)}
    assert "original 'real/aa.mp4' is no video of the table; real/a.mp4 may be meant" in reasons["c.mp4"]
    assert "original 'b.mp4' names an original itself" in reasons["d.mp4"] and len(reasons) == 2
    with pytest.raises(ValueError, match="column orginal: did you mean original"):
        read(write_table(tmp_path, text.replace("original", "orginal", 1)), "table")


@pytest.mark.parametrize(("first", "last"), [(20, 30), (2, 79), (60, None)])
def test_stray_quotes_swallow_no_lines(tmp_path, first, last):
    lines = ["path,label", *(f"{n}.png,{('real', 'fake')[n % 2]}" for n in range(2, 81))]
    for number in filter(None, (first, last)):
        lines[number - 1] = f'"{lines[number - 1]}'
    table = write_table(tmp_path, "\n".join(lines) + "\n")
    with pytest.raises(
        ValueError, match=rf"list\.csv: a quote opened in line {first} closes in line {last or 80},"
    ):
        read(table, "table")
    long = "path,label\n" + '"a.png,real\n' + "b.png,fake\n" * 20_000  # more than csv takes for a cell
    with pytest.raises(ValueError, match="a quote opened in line 2 closes in line"):
        read(write_table(tmp_path, long), "table")
    with pytest.raises(ValueError, match="a quote opened in line 1 closes in line 3"):
        read(write_table(tmp_path, 'path,"label\na.png,real\n"\n'), "table")


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.usefixtures("messages_on_stderr")
def test_other_delimiters_are_recognised_and_said(tmp_path, capsys, sign, name):
    text = csv_text(LINES[:1] + LINES[2:]).replace(",", sign)
    table = write_table(tmp_path, text)
    assert recognise(tmp_path) == "table"
    assert read(tmp_path) == ROWS[:1] + ROWS[2:]
    told, labels = capsys.readouterr().err.splitlines()
    assert (
        told == f"{table}: its columns are separated by {name}"
        and "labels read: 0 as real (1), 1 as fake (1)" in labels
    )
    table.rename(tmp_path / "list.tsv")
    assert read(tmp_path) == ROWS[:1] + ROWS[2:]


def test_the_byte_that_is_not_utf8_is_named(tmp_path):
    good = b"path,label\n" + b"a.png,real\n" * 2000
    for data, at, line in (
        (b"path,label,na\xefve\na.png,real,\n", 13, 1),
        (good + b"\xff.png,fake\n", len(good), 2002),
    ):
        (tmp_path / "list.csv").write_bytes(data)
        with pytest.raises(
            ValueError,
            match=rf"list\.csv is not UTF-8 \(invalid .* at byte {at}, line {line}\)\. Save it as UTF-8",
        ):
            read(tmp_path / "list.csv", "table")
    (tmp_path / "list.csv").write_bytes(b"path,label,na\xefve\na.png,real,\n")
    with pytest.raises(ValueError, match=r"table: .*list\.csv is not UTF-8"):
        recognise(tmp_path)
    write_table(tmp_path, "path;lable\na.png;real\n")
    with pytest.raises(
        ValueError, match=r"list\.csv lacks the column label; it has path, lable\. Is lable meant for label\?"
    ):
        recognise(tmp_path)


def test_json_lines_that_are_no_objects_say_so(tmp_path):
    text = '[1, 2]\n{"path": "a.png", "label": 1}\n[1, 2]\nnull\n"text"\n'
    text += '{"path": 5, "label": 0}\n{"path": ["b.png"], "label": 0}\n'
    row, *_ = found = sorted(
        read(write_table(tmp_path, text, "list.jsonl"), "table"), key=lambda item: isinstance(item, Reject)
    )
    assert row == Row("a.png", FAKE)
    assert [(item.path, item.reason) for item in found[1:]] == [
        *((f"list.jsonl:{n}", "not an object with path and label") for n in (1, 3, 4, 5)),
        ("list.jsonl:6", "path 5 is no text; needed is a file's path"),
        ("list.jsonl:7", "path ['b.png'] is no text; needed is a file's path"),
    ]
