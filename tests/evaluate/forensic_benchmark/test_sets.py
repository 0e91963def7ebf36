"""Sets of pictures: the same number is the same bytes, and what a condition does to them."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dfd.batch import FAKE, REAL
from dfd.evaluate.forensic_benchmark import KINDS, Sizes, sets_of
from dfd.evaluate.forensic_benchmark.pictures import (
    VARIANTS,
    Edited,
    Toy,
    large_enough,
    open_originals,
    open_shards,
)
from dfd.evaluate.forensic_benchmark.scenes import Scenes, _photograph
from dfd.forensics import jpeg_facts
from dfd.media.decode import decode
from dfd.media.encode import encode_jpeg, encode_png
from dfd.shards.samples import NewSample, write_samples

SCENES = Scenes(3, size=224)
EDITED = Edited(SCENES, "edited")


def exif(make: str, model: str) -> bytes:
    tags = Image.Exif()
    tags[271], tags[272] = make, model
    return tags.tobytes()


def photographs(folder, sizes=((240, 260),) * 3, models=("One", "Two", "Two")) -> None:
    folder.mkdir(exist_ok=True)
    for number, (size, model) in enumerate(zip(sizes, models, strict=True)):
        pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", exif=exif("Maker", model), quality=92)
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")


def test_each_photograph_comes_once_untouched_and_once_with_every_edit():
    assert len(EDITED) == 3 * (1 + len(KINDS))
    made = [EDITED.picture(number, "png") for number in range(len(VARIANTS))]
    assert [each.method for each in made] == ["", *KINDS]
    assert [each.label for each in made] == [REAL] + [FAKE] * len(KINDS)
    untouched = decode(made[0].data)
    assert np.array_equal(untouched, SCENES.photograph(0)) and not made[0].mask.any()
    for each in made[1:]:
        changed = (decode(each.data) != untouched).any(axis=2)
        assert changed.any() and not (changed & ~each.mask).any()
        assert each.family == made[0].family


def test_the_same_number_is_the_same_bytes_in_any_process():
    first = EDITED.picture(4, "jpeg75")
    _photograph.cache_clear()
    again = EDITED.picture(4, "jpeg75")
    assert first.data == again.data and np.array_equal(first.mask, again.mask)
    other = replace(EDITED, seed=1).picture(4, "jpeg75")
    assert other.data != first.data


def test_conditions_are_how_a_picture_was_saved():
    assert EDITED.picture(1, "png").data.startswith(b"\x89PNG")
    for name, quality in (("jpeg90", 90), ("jpeg75", 75)):
        facts = jpeg_facts(EDITED.picture(1, name).data)
        assert facts.standard and facts.quality == quality
    toy = Toy(12, size=96)
    as_found, again = toy.picture(1, "as_found"), toy.picture(1, "jpeg75")
    assert jpeg_facts(again.data).quality == 75
    assert np.array_equal(decode(again.data), decode(encode_jpeg(decode(as_found.data), 75)))


def test_the_toy_sets_masks_are_its_forgeries():
    toy = Toy(12, size=96)
    made = [toy.picture(number, "as_found") for number in range(12)]
    for each in made:
        assert each.mask.any() == (each.label == FAKE) and each.mask.shape == (96, 96)
    assert len({each.family for each in made}) == 2


def test_no_scene_is_like_another():
    first, second = (SCENES.photograph(number).astype(float) for number in (0, 1))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.9
    assert len(set(SCENES.families)) == 3


def test_originals_are_what_can_be_decoded(tmp_path):
    folder = tmp_path / "photos"
    photographs(folder)
    files = open_originals([folder])
    assert len(files) == 3 and files.families == ("Maker One", "Maker Two", "Maker Two")
    assert open_originals([folder / "2.jpg", folder]).families == ("Maker Two", "Maker One", "Maker Two")
    as_found = files.picture(1, "as_found")
    assert (
        as_found.data == (folder / "1.jpg").read_bytes() and as_found.label == REAL and as_found.mask is None
    )
    assert b"Maker" not in files.picture(1, "jpeg75").data
    edited = Edited(large_enough(files, 9), "edited")
    for number in range(len(VARIANTS)):
        picture = edited.picture(number, "png")
        assert decode(picture.data).shape == (240, 260, 3)


def test_a_splice_comes_from_another_camera(tmp_path, monkeypatch):
    photographs(tmp_path / "photos")
    edited = Edited(large_enough(open_originals([tmp_path / "photos"]), 9), "edited")
    assert {edited._donor(1, np.random.default_rng(seed)) for seed in range(9)} == {0}
    assert {edited._donor(0, np.random.default_rng(seed)) for seed in range(9)} == {1, 2}


def test_photographs_that_are_small_or_of_one_camera_are_not_edited(tmp_path):
    photographs(tmp_path / "small", sizes=((150, 300), (240, 260), (240, 260)))
    assert large_enough(open_originals([tmp_path / "small"]), 9) is None
    assert [each.name for each in sets_of(originals=[tmp_path / "small"], sizes=Sizes(2, 6, 2, 2))] == [
        "camera_originals", "edited_simulated", "toy",
    ]  # fmt: skip


def test_a_large_photograph_is_cut_along_its_blocks(tmp_path):
    photographs(tmp_path / "large", sizes=((1100, 1300), (240, 260), (240, 260)))
    files = open_originals([tmp_path / "large"])
    whole, cut = decode((tmp_path / "large" / "0.jpg").read_bytes()), files.photograph(0)
    assert cut.shape == (1024, 1024, 3)
    # (1100 - 1024) / 2 and (1300 - 1024) / 2, down to multiples of 16
    assert np.array_equal(cut, whole[32 : 32 + 1024, 128 : 128 + 1024])


def test_what_holds_no_photograph_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is nothing"):
        open_originals([tmp_path / "nowhere"])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    for place in (tmp_path, tmp_path / "broken.jpg"):
        with pytest.raises(ValueError, match="can be decoded"):
            open_originals([place])


def shards(root):
    made = []
    for number in range(24):
        label, size = number % 2, (40, 48 + number)
        pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
        data = encode_jpeg(pixels, 60) if label else encode_png(pixels)
        split = ("train", "val", "test")[number // 2 % 3]
        made.append(NewSample(f"k{number}", data, label, split, "lab", groups=(f"g{number // 2}",)))
    write_samples(made, root, {"what": "test"})
    return root


def test_shards_give_their_test_split_first_and_both_classes_alike(tmp_path):
    root = shards(tmp_path / "shards")
    some = open_shards("lab", root, 5)
    assert len(some) == 10 and some.side == 40
    keys = {some.picture(number, "as_found").key for number in range(10)}
    of_test = {f"k{number}" for number in range(24) if number // 2 % 3 == 2}
    assert of_test <= keys
    labels = [some.picture(number, "matched").label for number in range(10)]
    assert sum(labels) == 5
    for number in range(10):
        matched = some.picture(number, "matched").data
        assert jpeg_facts(matched).quality == 90 and decode(matched).shape == (40, 40, 3)
        assert jpeg_facts(some.picture(number, "jpeg75").data).quality == 75
    as_found = [some.picture(number, "as_found") for number in range(10)]
    assert {Image.open(io.BytesIO(each.data)).format for each in as_found} == {"JPEG", "PNG"}
    assert open_shards("lab", root, 5).identity() == some.identity() != open_shards("lab", root, 4).identity()


def test_a_root_of_the_name_of_another_set_is_refused(tmp_path):
    root = shards(tmp_path / "toy")
    with pytest.raises(ValueError, match="NAME="):
        sets_of([str(root)])
    assert sets_of([f"lab={root}"])[-1].name == "lab"
