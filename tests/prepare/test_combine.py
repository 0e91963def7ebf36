import errno
import io
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from killing import killed_at
from PIL import Image

from dfd.prepare import combine as module
from dfd.prepare.combine import combine
from dfd.prepare.pipeline import prepare
from dfd.prepare.readers import Row, find_reader, recognise
from dfd.shards.splits import hashed_split
from dfd.shards.table import load_table

NAMES = [f"{name}_{n}_1100.jpg" for name in ("easy", "mid", "hard") for n in range(1, 11)]


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Thirty pictures of each class and set; equal names in both sets do occur."""
    faces, ciplab = tmp_path / "140k", tmp_path / "ciplab"
    for n in range(30):
        split = ("train", "valid", "test")[n % 3]
        write(faces / f"real_vs_fake/real-vs-fake/{split}/real/real_{n:05d}.jpg", f"140k real {n}")
        write(faces / f"real_vs_fake/real-vs-fake/{split}/fake/{n:010d}.jpg", f"140k fake {n}")
        write(ciplab / f"real_and_fake_face/training_real/real_{n:05d}.jpg", picture(n))
        write(ciplab / f"real_and_fake_face/training_fake/{NAMES[n]}", picture(n + 100))
    return faces, ciplab


def picture(seed: int, quality: int = 90) -> bytes:
    rough = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    rough.resize((96, 96), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(out: Path) -> list[Row]:
    found = list(find_reader(recognise(out))(out))
    assert recognise(out) == "combined" and all(isinstance(item, Row) for item in found)
    return found


def test_the_tree_is_read_as_what_its_parts_are(sources, tmp_path):
    before = [contents(source) for source in sources]
    done = combine(*sources, tmp_path / "out")
    assert [contents(source) for source in sources] == before
    found = rows(tmp_path / "out")
    assert sum(done.counts.values()) == len(found) == 120 and not done.copied and not done.left_out
    assert Counter((row.source, row.label) for row in found) == {
        (set_, label): 30 for set_ in ("140k", "ciplab") for label in (0, 1)
    }
    one_by_one = [row for source in sources for row in find_reader(recognise(source))(source)]
    assert Counter((row.source, row.label, row.method) for row in found) == Counter(
        (row.source, row.label, row.method) for row in one_by_one
    )
    assert Counter(row.split for row in found if row.source == "140k") == {"train": 20, "val": 20, "test": 20}
    assert {(tmp_path / "out" / row.path).read_bytes() for row in found} == {
        data for held in before for data in held.values()
    }
    assert "120 pictures" in str(done) and f"dfd prepare {tmp_path / 'out'}" in str(done)


def homes(out: Path) -> dict[str, str]:
    return {
        Path(row.path).name.removeprefix("ciplab__"): row.split for row in rows(out) if row.source == "ciplab"
    }


def test_ciplabs_pictures_go_where_prepare_would_send_them(sources, tmp_path):
    combine(*sources, tmp_path / "out")
    prepare(sources[1], tmp_path / "shards", workers=1)
    table = load_table(tmp_path / "shards").to_pylist()
    home = homes(tmp_path / "out")
    assert home == {Path(row["path"]).name: row["split"] for row in table} and len(set(home.values())) == 3
    assert all(hashed_split(row["family"]) == row["split"] for row in table)
    write(sources[1] / "real_and_fake_face/training_real/real_77777.jpg", picture(0))
    write(sources[1] / "real_and_fake_face/training_fake/easy_77_0001.jpg", picture(0, quality=60))
    combine(*sources, tmp_path / "more")
    again = homes(tmp_path / "more")
    one = again["real_00000.jpg"]
    assert (again["real_77777.jpg"], again["easy_77_0001.jpg"]) == (one, one), "copies go with their original"
    assert again == home | {name: one for name in ("real_00000.jpg", "real_77777.jpg", "easy_77_0001.jpg")}, (
        "nobody else moves"
    )


def test_files_are_linked_where_that_can_be(sources, tmp_path):
    done = combine(*sources, tmp_path / "out")
    assert {path.stat().st_nlink for path in done.tree.rglob("*.jpg")} == {2}


def test_files_are_copied_where_they_cannot_be_linked(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "link", no_links)
    done = combine(*sources, tmp_path / "out")
    assert done.copied == 120 and "120 files are copies" in str(done)
    assert set(contents(done.tree).values()) == {
        data for source in sources for data in contents(source).values()
    }
    assert {path.stat().st_nlink for path in done.tree.rglob("*.jpg")} == {1}


def no_links(*_):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def test_a_whole_tree_is_left_alone(sources, tmp_path):
    combine(*sources, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    done = combine(*sources, tmp_path / "out")
    assert done.already and "left as it is" in str(done)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize("linked", [True, False])
def test_interrupted_and_run_again_it_goes_on(sources, tmp_path, monkeypatch, linked):
    out, calls = tmp_path / "out", []

    def stop(real):
        def wrapped(file, target):
            calls.append(target)
            if len(calls) == 50:
                Path(target).write_text("half")
                raise KeyboardInterrupt
            return real(file, target)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "link", stop(os.link) if linked else no_links)
        if not linked:
            patch.setattr(module.shutil, "copyfile", stop(shutil.copyfile))
        with pytest.raises(KeyboardInterrupt):
            combine(*sources, out)
        assert [path.name for path in out.iterdir()] == [".combining"], (
            "nothing that could be taken for the tree"
        )
        with pytest.raises(ValueError, match="none of the layouts"):
            recognise(out)
    write(out / ".combining/train/real/140k__real_00000.jpg.part-0123abcd", "ha")
    done = combine(*sources, out)
    assert [path.name for path in out.iterdir()] == ["combined-real-vs-fake"]
    assert sorted(contents(done.tree).values()) == sorted(
        data for source in sources for data in contents(source).values()
    )


@pytest.mark.parametrize("linked", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_killed_at_a_call_to_the_disk_it_goes_on(sources, tmp_path, monkeypatch, linked):
    if not linked:
        monkeypatch.setattr(module.os, "link", no_links)
    whole = contents(combine(*sources, tmp_path / "whole").tree)
    for number in (0, 1, 4, 17, 10_000):
        out = tmp_path / str(number)
        assert killed_at(number, lambda out=out: combine(*sources, out)) == (number < 1000)
        assert contents(combine(*sources, out).tree) == whole
        assert os.listdir(out) == ["combined-real-vs-fake"]


def test_a_folder_that_holds_anything_else_is_not_touched(sources, tmp_path):
    out = tmp_path / "out"
    write(out / "notes.txt", "mine")
    with pytest.raises(ValueError, match=r"holds something else \(notes.txt\)"):
        combine(*sources, out)
    assert contents(out) == {"notes.txt": b"mine"}
    (out / "notes.txt").unlink()
    done = combine(*sources, out)
    write(done.tree / "train/real/mine.jpg", "mine")
    with pytest.raises(ValueError, match=r"1 files are of neither \(first train/real/mine.jpg\)"):
        combine(*sources, out)
    (done.tree / "train/real/mine.jpg").unlink()
    (done.tree / "train/real/140k__real_00000.jpg").unlink()
    with pytest.raises(ValueError, match="1 files are missing"):
        combine(*sources, out)
    write(done.tree / "train/real/140k__real_00000.jpg", "of another length")
    with pytest.raises(ValueError, match="1 files have changed"):
        combine(*sources, out)
    write(tmp_path / "third/.combining/train/real/mine.jpg", "mine")
    with pytest.raises(ValueError, match="of neither of these two sets"):
        combine(*sources, tmp_path / "third")
    write(tmp_path / "file", "")
    with pytest.raises((ValueError, OSError), match="file"):
        combine(*sources, tmp_path / "file")


def test_sources_and_output_are_apart_and_as_needed(sources, tmp_path):
    for out in (sources[0], sources[1] / "out", tmp_path):
        with pytest.raises(ValueError, match="inside one another"):
            combine(*sources, out)
    with pytest.raises(ValueError, match="real_vs_fake/real-vs-fake/train/real is missing"):
        combine(*sources[::-1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_used_is_left_out_and_said(sources, tmp_path):
    write(tmp_path / "secret.jpg", "secret")
    home = sources[0] / "real_vs_fake/real-vs-fake"
    (home / "train/real/outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (home / "train/real/inside.jpg").symlink_to(home / "train/real/real_00000.jpg")
    write(home / "fake/homeless.jpg", "x")
    write(sources[1] / "real_and_fake_face/training_fake/mid_99_1111.jpg", "no picture")
    write(sources[1] / "real_and_fake_face/training_fake/strange.jpg", "x")
    done = combine(*sources, tmp_path / "out")
    assert [Path(reject.path).name for reject in done.left_out] == [
        "homeless.jpg",
        "outside.jpg",
        "mid_99_1111.jpg",
        "strange.jpg",
    ]
    assert "4 files of the sources were left out" in str(done) and len(rows(tmp_path / "out")) == 121
    inside = done.tree / "train/real/140k__inside.jpg"
    assert not inside.is_symlink() and inside.read_bytes() == b"140k real 0"


def test_two_files_of_one_name_are_not_chosen_between(sources, tmp_path):
    for folder in ("a", "b"):
        write(sources[0] / f"real_vs_fake/real-vs-fake/train/real/{folder}/x.jpg", folder)
    with pytest.raises(ValueError, match="have one name"):
        combine(*sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_real_excerpts_become_one_set(real_data, tmp_path):
    for name in ("140k-real-and-fake-faces", "real-and-fake-face-detection"):
        shutil.copytree(real_data / name, tmp_path / name, copy_function=shutil.copyfile)
    done = combine(
        tmp_path / "140k-real-and-fake-faces", tmp_path / "real-and-fake-face-detection", tmp_path / "out"
    )
    found = rows(tmp_path / "out")
    assert not done.left_out and Counter(row.source for row in found) == {"140k": 3240, "ciplab": 160}
    assert Counter(row.split for row in found if row.source == "140k") == {
        "train": 2600,
        "val": 300,
        "test": 340,
    }
