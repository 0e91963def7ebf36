import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from dfd.batch import FAKE, REAL
from dfd.cli import main
from dfd.forensics import jpeg_facts
from dfd.media.decode import decode
from dfd.prepare.reencode import Reencoding, reencode
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table


def picture(seed: int, name: str, width: int, height: int) -> bytes:
    rough = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    rough.resize((width, height), Image.BICUBIC).save(buffer, name)
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path):
    """Reals are PNGs of 90 x 70, fakes JPEGs of 64 x 64 with a mask; one real is too small."""
    mask = np.zeros((64, 64), np.uint8)
    mask[:32] = 255
    stored = cv2.imencode(".png", mask)[1].tobytes()
    samples = [
        NewSample(
            f"f{at}",
            picture(at, "JPEG", 64, 64),
            FAKE,
            ("train", "val")[at % 2],
            "set",
            "gan",
            (f"p{at}",),
            stored,
        )
        if at % 3
        else NewSample(
            f"r{at}", picture(at, "PNG", 90, 70), REAL, ("train", "val")[at % 2], "set", "", (f"p{at}",)
        )
        for at in range(60)
    ]
    small = NewSample("small", picture(99, "PNG", 40, 31), REAL, "train", "set", "", ("p99",))
    write_samples([*samples, small], tmp_path / "set", {"what": "test"})
    return tmp_path / "set"


def test_files_of_both_classes_say_the_same_afterwards(root, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    assert main(["reencode", str(root), "--out", str(tmp_path / "alike"), "--jpeg=80", "--size=32"]) == 0
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before
    assert "60 images" in capsys.readouterr().out
    old, new = (
        {line["key"]: line for line in load_table(folder).to_pylist()}
        for folder in (root, tmp_path / "alike")
    )
    assert (
        set(old) - set(new) == {"small"}
        and 'small,"smaller than 32' in (tmp_path / "alike" / "rejected.csv").read_text()
    )
    encodings = set()
    for key, line in new.items():
        for kept in ("label", "split", "source", "method", "groups", "family"):
            assert line[kept] == old[key][kept]
        tar = (tmp_path / "alike" / line["shard"]).read_bytes()
        data = tar[line["offset"] :][: line["length"]]
        facts = jpeg_facts(data)
        encodings.add(
            (
                line["format"],
                decode(data).shape,
                facts.table_id,
                facts.quality,
                facts.subsampling,
                facts.progressive,
            )
        )
        assert (line["mask_offset"] >= 0) == (line["label"] == FAKE)
        if line["label"] == FAKE:
            mask = np.asarray(Image.open(io.BytesIO(tar[line["mask_offset"] :][: line["mask_length"]])))
            assert mask.shape == (32, 32) and mask[:16].all() and not mask[16:].any()
    assert len(encodings) == 1 and next(iter(encodings))[3:5] == (80, "4:2:0")
    made_by = json.loads((tmp_path / "alike" / "index.json").read_text())["made_by"]
    assert (made_by["command"], made_by["jpeg"], made_by["size"], made_by["of"]) == (
        "match",
        80,
        32,
        {"what": "test"},
    )


def test_the_central_square_is_kept():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 10:50, 0] = 255  # the central square is red, what lies beside it black
    red = decode(Reencoding(95, 20).picture(image))
    assert red.shape == (20, 20, 3) and red[..., 0].min() > 240


def test_too_many_small_pictures_stop_it_and_leave_nothing(root, tmp_path):
    words = r"61 of 61 pictures are smaller than size=71 .* smaller size: the smallest side is 31, and up to size=64 no more"
    with pytest.raises(ValueError, match=words):
        reencode(root, tmp_path / "alike", Reencoding(90, 71))
    with pytest.raises(ValueError, match="41 of 61 pictures are smaller than size=70"):
        reencode(root, tmp_path / "alike", Reencoding(90, 70))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize(("jpeg", "size"), [(0, 224), (101, 224), (90, 8)])
def test_what_is_out_of_range_says_what_is_needed(jpeg, size):
    with pytest.raises(
        ValueError, match=rf"--jpeg {jpeg} --size {size}: .* quality from 1 to 100, .* 16 pixels"
    ):
        Reencoding(jpeg, size)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--size=224"], "--jpeg is missing."),
        (["--jpeg=90"], "--size is missing."),
        (["--jpeg=ninety", "--size=224"], '"ninety"'),
        (["--jpeg=90", "--size=224", "--overwrite"], "Unknown option"),
    ],
)
def test_both_quality_and_size_are_needed(root, tmp_path, capsys, options, says):
    assert main(["reencode", str(root), "--out", str(tmp_path / "x"), *options]) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_a_source_that_is_no_shards_or_an_output_in_use_is_refused(root, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    for arguments, says in (
        ([str(tmp_path / "pictures"), "--out", str(tmp_path / "x")], "no shards here"),
        ([str(root), "--out", str(root)], "which is only read"),
    ):
        assert main(["reencode", *arguments, "--jpeg=90", "--size=32"]) == 1
        assert says in capsys.readouterr().err


def test_what_is_damaged_names_the_command_that_makes_it_again(root, tmp_path):
    alike = tmp_path / "alike"
    reencode(root, alike, Reencoding(90, 32))
    (alike / "samples.parquet").unlink()
    with pytest.raises(
        ValueError, match=rf"`dfd reencode {root} --out ANOTHER --jpeg 90 --size 32` makes it"
    ):
        load_table(alike)
