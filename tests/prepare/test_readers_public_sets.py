"""The layouts of public sets: drawn here in small, and the real excerpts where they are at hand."""

import importlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from dfd.batch import FAKE, REAL
from dfd.prepare.manifest import make_plan
from dfd.prepare.readers import BUILT_IN, FaceBox, Reject, Row, find_reader, recognise
from dfd.prepare.readers.faceforensics import official_splits, videos
from dfd.shards.splits import crossing_families, families

DRAWN = {  # by reader: files, the rows that they make, and other folders that may be named for the first
    "faces_140k": (
        {
            "real_vs_fake/real-vs-fake/train/real/00001.jpg": "",
            "real_vs_fake/real-vs-fake/train/fake/0ARJBWDKA1.jpg": "",
            "real_vs_fake/real-vs-fake/valid/real/00002.jpg": "",
            "train.csv": ",original_path,id,label,label_str,path\n0,/x/00001.jpg,1,1,real,train/real/00001.jpg\n"
            "1,/x/0.jpg,0ARJBWDKA1,0,fake,train/fake/0ARJBWDKA1.jpg\n",
        },
        [
            Row("real_vs_fake/real-vs-fake/train/fake/0ARJBWDKA1.jpg", FAKE, (), "train", "140k", "stylegan"),
            Row("real_vs_fake/real-vs-fake/train/real/00001.jpg", REAL, (), "train", "140k"),
            Row("real_vs_fake/real-vs-fake/valid/real/00002.jpg", REAL, (), "val", "140k"),
        ],
        ("real_vs_fake", "real_vs_fake/real-vs-fake"),
    ),
    "ciplab": (
        {
            "real_and_fake_face/training_fake/easy_75_1100.jpg": "",
            "real_and_fake_face/training_fake/hard_75_1111.jpg": "",
            "real_and_fake_face/training_real/real_00075.jpg": "",
        },
        [
            Row("real_and_fake_face/training_fake/easy_75_1100.jpg", FAKE, (), None, "ciplab", "photoshop-easy"),
            Row("real_and_fake_face/training_fake/hard_75_1111.jpg", FAKE, (), None, "ciplab", "photoshop-hard"),
            Row("real_and_fake_face/training_real/real_00075.jpg", REAL, (), None, "ciplab"),
        ],
        ("real_and_fake_face",),
    ),
    "dagnelies": (
        {
            "metadata.csv": "videoname,original_width,original_height,label,original\n"
            "b.mp4,185,185,FAKE,c.mp4\na.mp4,90,90,FAKE,z.mp4\nc.mp4,107,107,REAL,\n",
            "faces_224/a.jpg": "",
            "faces_224/b.jpg": "",
            "faces_224/c.jpg": "",
        },
        [
            Row("faces_224/a.jpg", FAKE, ("z",), None, "dagnelies", "dfdc"),
            Row("faces_224/b.jpg", FAKE, ("c",), None, "dagnelies", "dfdc"),
            Row("faces_224/c.jpg", REAL, ("c",), None, "dagnelies"),
        ],
        (),
    ),
    "manjilkarki": (
        {
            f"Dataset/{split}/{name}/{name.lower()}_{n}.jpg": ""
            for n, split in enumerate(("Train", "Validation", "Test"))
            for name in ("Real", "Fake")
        },
        [
            Row("Dataset/Test/Fake/fake_2.jpg", FAKE, (), "test", "manjilkarki", "openforensics"),
            Row("Dataset/Test/Real/real_2.jpg", REAL, (), "test", "manjilkarki"),
            Row("Dataset/Train/Fake/fake_0.jpg", FAKE, (), "train", "manjilkarki", "openforensics"),
            Row("Dataset/Train/Real/real_0.jpg", REAL, (), "train", "manjilkarki"),
            Row("Dataset/Validation/Fake/fake_1.jpg", FAKE, (), "val", "manjilkarki", "openforensics"),
            Row("Dataset/Validation/Real/real_1.jpg", REAL, (), "val", "manjilkarki"),
        ],
        ("Dataset",),
    ),
    "combined": (
        {
            f"combined-real-and-fake-faces/combined-real-vs-fake/{path}": ""
            for path in (
                "test/fake/ciplab__mid_7_1111.jpg", "test/fake/mine.jpg",
                "train/fake/0ARJBWDKA1.jpg", "train/fake/140k__odd.jpg",
                "train/real/00018.jpg", "train/real/140k__real_00018.jpg",
                "valid/real/real_00018.jpg",
            )
        },
        [
            Row(f"combined-real-and-fake-faces/combined-real-vs-fake/{path}", *facts)
            for path, *facts in (
                ("test/fake/ciplab__mid_7_1111.jpg", FAKE, (), "test", "ciplab", "photoshop-mid"),
                ("test/fake/mine.jpg", FAKE, (), "test", "combined", ""),
                ("train/fake/0ARJBWDKA1.jpg", FAKE, (), "train", "140k", "stylegan"),
                ("train/fake/140k__odd.jpg", FAKE, (), "train", "140k", "stylegan"),
                ("train/real/00018.jpg", REAL, (), "train", "140k"),
                ("train/real/140k__real_00018.jpg", REAL, (), "train", "140k"),
                ("valid/real/real_00018.jpg", REAL, (), "val", "ciplab"),
            )
        ],
        ("combined-real-and-fake-faces", "combined-real-and-fake-faces/combined-real-vs-fake"),
    ),
    "faceforensics": (
        {
            "manipulated_sequences/DeepFakeDetection/c40/images/01_02__walking__YVGY8LOK/0000.png": "",
            "manipulated_sequences/NeuralTextures/c23/images/071_054/0000.png": "",
            "manipulated_sequences/NeuralTextures/c23/images/071_054/0001.png": "",
            "manipulated_sequences/NeuralTextures/masks/images/071_054/0001.png": "",
            "original_sequences/actors/raw/images/01__walking/0000.png": "",
            "original_sequences/youtube/c23/images/054/0000.png": "",
            "original_sequences/youtube/c23/videos/054.mp4": "",
            "splits/train.json": '[["071", "054"]]',
            "splits/val.json": "[]",
            "splits/test.json": "[]",
        },
        [
            Row(
                "manipulated_sequences/DeepFakeDetection/c40/images/01_02__walking__YVGY8LOK/0000.png",
                FAKE, ("ff-actor-01", "ff-actor-02"), None, "faceforensics-c40", "DeepFakeDetection",
            ),
            *(
                Row(
                    f"manipulated_sequences/NeuralTextures/c23/images/071_054/000{n}.png",
                    FAKE, ("ff-054", "ff-071"), "train", "faceforensics-c23", "NeuralTextures", mask,
                )
                for n, mask in ((0, None), (1, "manipulated_sequences/NeuralTextures/masks/images/071_054/0001.png"))
            ),
            Row("original_sequences/actors/raw/images/01__walking/0000.png", REAL, ("ff-actor-01",), None, "faceforensics-raw"),
            Row("original_sequences/youtube/c23/images/054/0000.png", REAL, ("ff-054",), "train", "faceforensics-c23"),
        ],
        (),
    ),
    "celeb_df": (
        {
            "Celeb-real/id0_0000.mp4": "",
            "Celeb-real/id1_0000.mp4": "",
            "Celeb-synthesis/id0_id1_0000.mp4": "",
            "Celeb-synthesis/id1_id0_0007.mp4": "",
            "YouTube-real/00170.mp4": "",
            "List_of_testing_videos.txt": "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n\n",
        },
        [
            Row("Celeb-real/id0_0000.mp4", REAL, ("celebdf-id0",), "train", "celeb-df"),
            Row("Celeb-real/id1_0000.mp4", REAL, ("celebdf-id1",), "train", "celeb-df"),
            Row(
                "Celeb-synthesis/id0_id1_0000.mp4", FAKE, ("celebdf-id0", "celebdf-id1"), "test", "celeb-df",
                "celeb-synthesis", original="Celeb-real/id0_0000.mp4",
            ),
            Row(
                "Celeb-synthesis/id1_id0_0007.mp4", FAKE, ("celebdf-id0", "celebdf-id1"), "train", "celeb-df",
                "celeb-synthesis",
            ),
            Row("YouTube-real/00170.mp4", REAL, ("celebdf-youtube-00170",), "test", "celeb-df"),
        ],
        (),
    ),
    "dfdc": (
        {
            "dfdc_train_part_0/metadata.json": json.dumps(
                {
                    "b.mp4": {"label": "REAL", "split": "train"},
                    "a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"},
                    "c.mp4": {"label": "FAKE", "split": "train", "original": "z.mp4"},
                }
            ),
            **{f"dfdc_train_part_0/{name}.mp4": "" for name in "abc"},
        },
        [
            Row(
                "dfdc_train_part_0/a.mp4", FAKE, ("dfdc-b",), None, "dfdc", "dfdc",
                original="dfdc_train_part_0/b.mp4",
            ),
            Row("dfdc_train_part_0/b.mp4", REAL, ("dfdc-b",), None, "dfdc"),
            Row("dfdc_train_part_0/c.mp4", FAKE, ("dfdc-z",), None, "dfdc", "dfdc"),
        ],
        ("dfdc_train_part_0",),
    ),
    "genimage": (
        {
            "imagenet_midjourney/train/ai/1.png": "",
            "imagenet_midjourney/train/nature/n01440764_1.JPEG": "",
            "sd/imagenet_ai_0419_sdv4/val/ai/2.png": "",
            "sd/imagenet_ai_0419_sdv4/val/nature/ILSVRC2012_val_1.JPEG": "",
        },
        [
            Row("imagenet_midjourney/train/ai/1.png", FAKE, (), "train", "genimage", "midjourney"),
            Row("imagenet_midjourney/train/nature/n01440764_1.JPEG", REAL, (), "train", "genimage"),
            Row("sd/imagenet_ai_0419_sdv4/val/ai/2.png", FAKE, (), "val", "genimage", "sdv4"),
            Row("sd/imagenet_ai_0419_sdv4/val/nature/ILSVRC2012_val_1.JPEG", REAL, (), "val", "genimage"),
        ],
        (),
    ),
    "openforensics": (
        {
            "Train_poly.json": json.dumps(
                {
                    "categories": [{"id": 0, "name": "Real"}, {"id": 1, "name": "Fake"}],
                    "images": [{"id": 5, "file_name": "Images/Train/a.jpg", "width": 90, "height": 60}],
                    "annotations": [
                        {"image_id": 5, "category_id": 0, "bbox": [1, 2, 30, 40], "segmentation": [[1, 2, 31, 2, 31, 42]]},
                        {"image_id": 5, "category_id": 1, "bbox": [40, 2, 30, 40], "segmentation": [[40, 2, 70, 2, 70, 42]]},
                    ],
                }
            ),
            "Test-Challenge_poly.json": json.dumps(
                {
                    "categories": [{"id": 0, "name": "Real"}, {"id": 1, "name": "Fake"}],
                    "images": [{"id": 1, "file_name": "b.jpg", "width": 90, "height": 60}],
                    "annotations": [{"image_id": 1, "category_id": 0, "bbox": [1, 2, 30, 40], "segmentation": []}],
                }
            ),
            "Images/Train/a.jpg": "",
            "Images/Test-Challenge/b.jpg": "",
        },
        [
            Row(
                "Images/Test-Challenge/b.jpg", REAL, (), "test", "openforensics-challenge",
                face=FaceBox(1, (1, 2, 30, 40), (90, 60)),
            ),
            Row("Images/Train/a.jpg", REAL, (), "train", "openforensics", face=FaceBox(1, (1, 2, 30, 40), (90, 60))),
            Row(
                "Images/Train/a.jpg", FAKE, (), "train", "openforensics", "openforensics",
                face=FaceBox(2, (40, 2, 30, 40), (90, 60), ((40, 2, 70, 2, 70, 42),)),
            ),
        ],
        (),
    ),
}  # fmt: skip


def draw(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def read(root: Path) -> list[Row | Reject]:
    return list(find_reader(recognise(root))(root))


def reasons(found: list[Row | Reject]) -> dict[str, str]:
    return {item.path: item.reason for item in found if isinstance(item, Reject)}


def paths(found: list[Row | Reject]) -> list[str]:
    return [item.path for item in found if isinstance(item, Row)]


@pytest.fixture
def drawn(request, tmp_path) -> Path:
    return draw(tmp_path / "set", DRAWN[request.param][0])


every_set = pytest.mark.parametrize(
    ("name", "drawn"), [(name, name) for name in DRAWN], indirect=["drawn"], ids=list(DRAWN)
)


@every_set
def test_a_set_is_recognised_at_each_of_its_levels(name, drawn):
    _, expected, levels = DRAWN[name]
    assert read(drawn) == expected
    assert paths(expected) == sorted(paths(expected))
    for level in levels:
        assert recognise(drawn / level) == name
        assert [f"{level}/{row.path}" for row in read(drawn / level)] == paths(expected)


def test_every_public_set_is_drawn():
    assert set(DRAWN) == set(BUILT_IN) - {"table", "class_folders"}


@every_set
def test_what_a_set_lacks_is_named(name, drawn, tmp_path):
    module = importlib.import_module(f"dfd.prepare.readers.{name}")
    for root in (tmp_path / "empty", tmp_path / "file"):
        root.mkdir() if root.name == "empty" else root.touch()
        missing = module.mismatch(root)
        assert missing.startswith(str(root)) and missing != str(root)
    assert not module.mismatch(drawn)


@every_set
def test_odd_files_of_a_set_are_listed_or_passed_over(name, drawn, tmp_path):
    home = (drawn / DRAWN[name][1][0].path).parent
    outside = draw(tmp_path / "outside", {"x.jpg": ""})
    (home / "linked").symlink_to(outside)
    (home / "nowhere.jpg").symlink_to(outside / "absent.jpg")
    os.mkfifo(home / "pipe.jpg")
    draw(home, {".DS_Store": "", "Thumbs.db": "", "._a.jpg": ""})
    before = DRAWN[name][1]
    found = read(drawn)
    assert [item for item in found if isinstance(item, Row)] == before
    where = home.relative_to(drawn)
    assert set(reasons(found)) == {str(where / odd) for odd in ("linked", "nowhere.jpg", "pipe.jpg")}
    assert "link to a folder" in reasons(found)[str(where / "linked")]


@every_set
def test_a_name_that_is_no_utf8_is_rejected_with_a_reason(name, drawn):
    row = DRAWN[name][1][0]
    odd = os.fsencode(drawn / row.path).replace(b".", b"\xff.")
    shutil.copy(drawn / row.path, odd)
    found = read(drawn)
    plan, rejects, _ = make_plan(found, "here", str(drawn))
    assert plan["path"].to_pylist() and len(plan) == len(DRAWN[name][1])
    assert len(rejects) == 1 and rejects[0].reason


def test_140k_where_table_and_folder_disagree(tmp_path):
    files, *_ = DRAWN["faces_140k"]
    head = ",original_path,id,label,label_str,path\n"
    root = draw(tmp_path, files | {
        "train.csv": head + "0,,1,0,fake,train/real/00001.jpg\n1,,2,1,real,train/real/gone.jpg\n2,,3,1,real,../out.jpg\nbad\n",
        "real_vs_fake/valid.csv": head + "0,,0,0,fake,train/fake/0ARJBWDKA1.jpg\n1,,2,1,real,valid/real/00002.jpg\n",
        "test.csv": "path,label\ntest/real/00003.jpg,1\n",
    })  # fmt: skip
    found = read(root)
    assert paths(found) == ["real_vs_fake/real-vs-fake/valid/real/00002.jpg"]
    assert reasons(found) == {
        "real_vs_fake/real-vs-fake/train/real/00001.jpg": "train.csv says fake, its folder train/real",
        "real_vs_fake/real-vs-fake/train/fake/0ARJBWDKA1.jpg": "valid.csv says fake, its folder train/fake",
        "real_vs_fake/real-vs-fake/train/real/gone.jpg": "train.csv lists it, and the folders do not hold it",
        "real_vs_fake/real-vs-fake/../out.jpg": "train.csv lists it, and the folders do not hold it",
        "train.csv:5": "1 cells for 6 columns",
        "test.csv": "has no column label_str: it was not compared with the folders",
    }


def test_140k_says_real_with_a_one_and_a_table_is_not_taken_in_by_it(tmp_path):
    root = draw(tmp_path, {"train.csv": DRAWN["faces_140k"][0]["train.csv"], "train/real/00001.jpg": ""})
    assert recognise(root) == "table"
    assert paths(read(root)) == [] and all("contradict" in reason for reason in reasons(read(root)).values())


def test_dagnelies_guesses_no_label_and_no_origin(tmp_path):
    files, rows, _ = DRAWN["dagnelies"]
    more = [
        "d.mp4,1,1,UNKNOWN,",
        "e.mp4,1,1,FAKE,",
        "f.mp4,1,1,REAL,a.mp4",
        "gone.mp4,1,1,REAL,",
        ",1,1,REAL,",
        "g.mp4,1",
    ]
    more += ["../../secret.mp4,1,1,REAL,", "h.mp4,1,1,REAL,", "h.mp4,1,1,maybe,"]
    root = draw(tmp_path, files | {f"faces_224/{name}.jpg": "" for name in "defgh"})
    (root / "metadata.csv").write_text(files["metadata.csv"] + "\n".join(more))
    found = read(root)
    assert [item for item in found if isinstance(item, Row)] == rows
    assert reasons(found) == {
        "faces_224/d.jpg": "label 'UNKNOWN' is neither REAL nor FAKE",
        "faces_224/e.jpg": "label FAKE without an original: a fake has one, a real video none",
        "faces_224/f.jpg": "label REAL with an original: a fake has one, a real video none",
        "faces_224/g.jpg": "metadata.csv does not list it",
        "faces_224/gone.jpg": "metadata.csv lists it, and faces_224 does not hold it",
        "faces_224/../../secret.jpg": "metadata.csv lists it, and faces_224 does not hold it",
        "faces_224/h.jpg": "label 'maybe' is neither REAL nor FAKE",
        "metadata.csv:9": "no videoname",
        "metadata.csv:10": "2 cells for 5 columns",
    }


def test_dagnelies_rows_twice_are_one_or_none(tmp_path):
    files = DRAWN["dagnelies"][0]
    root = draw(tmp_path, files)
    (root / "metadata.csv").write_text(files["metadata.csv"] + "c.mp4,107,107,REAL,\nb.mp4,185,185,REAL,\n")
    plan, rejects, _ = make_plan(read(root), "here", str(root))
    assert sorted(plan["path"].to_pylist()) == ["faces_224/a.jpg", "faces_224/c.jpg"]
    assert [reject.path for reject in rejects] == [
        "faces_224/b.jpg"
    ] and "contradict each other: label" in rejects[0].reason


def test_dagnelies_without_a_column_is_no_such_set(tmp_path):
    root = draw(tmp_path, DRAWN["dagnelies"][0] | {"metadata.csv": "videoname,label\na.mp4,REAL\n"})
    with pytest.raises(ValueError, match=r"metadata\.csv with the column original"):
        recognise(root)
    with pytest.raises(ValueError, match="column original is missing"):
        list(find_reader("dagnelies")(root))


@pytest.mark.parametrize(
    ("name", "odd", "reader"),
    [
        ("ciplab", "real_and_fake_face/training_fake/real_00001.jpg", "ciplab"),
        ("ciplab", "real_and_fake_face/training_real/easy_1_1110.jpg", "ciplab"),
        ("ciplab", "real_and_fake_face/training_fake/easy_1_1112.jpg", "ciplab"),
        ("manjilkarki", "Dataset/Train/Real/fake_1.jpg", "manjilkarki"),
        ("manjilkarki", "Dataset/Train/Fake/IMG_1.jpg", "manjilkarki"),
        ("combined", "combined-real-and-fake-faces/combined-real-vs-fake/train/real/ciplab__easy_1_1110.jpg", "combined"),
        ("combined", "combined-real-and-fake-faces/combined-real-vs-fake/train/fake/real_00001.jpg", "combined"),
    ],
)  # fmt: skip
def test_a_file_whose_name_is_not_of_its_folder_is_listed(tmp_path, name, odd, reader):
    root = draw(tmp_path, DRAWN[name][0] | {odd: ""})
    assert recognise(root) == reader
    assert list(reasons(read(root))) == [odd]


def test_plain_class_folders_are_taken_for_no_public_set(tmp_path):
    for n, path in enumerate(
        (
            "train/real/real_1.jpg",
            "Dataset/Train/Real/real_1.jpg",
            "Dataset/Train/Real/a.jpg",
            "training_real/a.jpg",
            "real/00001.jpg",
        )
    ):
        root = draw(tmp_path / str(n), {path: "", path.replace("real", "fake").replace("Real", "Fake"): ""})
        assert recognise(root) == "class_folders"
    six = {
        f"Dataset/{split}/{name}/{n}.jpg": ""
        for split in ("Train", "Validation", "Test")
        for name in ("Real", "Fake")
        for n in "ab"
    }
    assert recognise(draw(tmp_path / "six", six)) == "class_folders"


@pytest.mark.parametrize("name", ["ciplab", "manjilkarki"])
def test_a_renamed_folder_is_known_by_the_names_in_it(name, tmp_path):
    files, rows, levels = DRAWN[name]
    draw(tmp_path, files)
    (tmp_path / levels[0]).rename(tmp_path / "mine")
    assert recognise(tmp_path / "mine") == name
    assert [f"{levels[0]}/{row.path}" for row in read(tmp_path / "mine")] == paths(rows)


def test_a_named_reader_says_what_the_folder_lacks(tmp_path):
    for name in ("ciplab", "manjilkarki", "dagnelies"):
        with pytest.raises(ValueError, match="is missing"):
            list(find_reader(name)(tmp_path))


def ff(root: Path, **lists: list) -> Path:
    files = {
        f"manipulated_sequences/{method}/{compression}/videos/071_054.mp4": ""
        for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
        for compression in ("raw", "c23", "c40")
    }
    files |= {
        "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4": "",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__outside_talking_still_laughing__YVGY8LOK.mp4": "",
        "original_sequences/actors/c23/videos/01__walking.mp4": "",
        "original_sequences/youtube/c40/videos/071.mp4": "",
    }
    return draw(root, files | {f"{split}.json": json.dumps(pairs) for split, pairs in lists.items()})


def test_faceforensics_videos(tmp_path):
    found = list(videos(ff(tmp_path, train=[], val=[["071", "054"]], test=[])))
    assert paths(found) == sorted(paths(found)) and len(found) == 18
    rows = {row.path: row for row in found}
    for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"):
        for compression in ("raw", "c23", "c40"):
            path = f"manipulated_sequences/{method}/{compression}/videos/071_054.mp4"
            mask = (
                "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4" if method == "Deepfakes" else None
            )
            made_of = f"original_sequences/youtube/{compression}/videos/071.mp4"
            told = Row(
                path,
                FAKE,
                ("ff-054", "ff-071"),
                "val",
                f"faceforensics-{compression}",
                method,
                mask,
                original=made_of,
            )
            assert rows[path] == told
    path = "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__outside_talking_still_laughing__YVGY8LOK.mp4"
    made_of = "original_sequences/actors/c23/videos/01__outside_talking_still_laughing.mp4"
    told = Row(
        path,
        FAKE,
        ("ff-actor-01", "ff-actor-02"),
        None,
        "faceforensics-c23",
        "DeepFakeDetection",
        original=made_of,
    )
    assert rows[path] == told
    path = "original_sequences/actors/c23/videos/01__walking.mp4"
    assert rows[path] == Row(path, REAL, ("ff-actor-01",), None, "faceforensics-c23")
    path = "original_sequences/youtube/c40/videos/071.mp4"
    assert rows[path] == Row(path, REAL, ("ff-071",), "val", "faceforensics-c40")
    assert recognise(tmp_path) == "faceforensics"
    assert list(find_reader("faceforensics")(tmp_path)) == found, "without extracted frames, the videos"


def test_faceforensics_lists_what_it_cannot_place(tmp_path):
    root = ff(tmp_path, train=[["071", "002"]], val=[["054", "003"]], test=[])
    youtube = root / "original_sequences/youtube/c40/videos"
    draw(youtube, {"999.mp4": "", "71.mp4": "", "notes.txt": "", "100/0000.png": ""})
    found = reasons(list(videos(root)))
    assert {Path(path).name: reason for path, reason in found.items()} == {
        "071_054.mp4": "the official lists have no one split for it: 071 in train, 054 in val",
        "999.mp4": "the official lists have no one split for it: 999 in none",
        "71.mp4": "not named as the videos of youtube are",
        "notes.txt": "no video NNN.mp4",
        "100": "no video NNN.mp4",
    }


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"train": [["1", "2"]], "val": []}, "test.json is missing"),
        ({"train": [["1", "2"]], "val": [["2", "3"]], "test": []}, "2 is also in train.json"),
        ({"train": [["1", "2", "3"]], "val": [], "test": []}, "no list of pairs"),
        ({"train": {"a": 1}, "val": [], "test": []}, "no list of pairs"),
        ({"train": 3, "val": [], "test": []}, "no list of pairs"),
    ],
)
def test_faceforensics_lists_that_are_not_as_published(tmp_path, lists, said):
    with pytest.raises(ValueError, match=said):
        list(videos(ff(tmp_path, **lists)))


@pytest.mark.slow
def test_faceforensics_official_lists(real_data, tmp_path):
    """As published, no pair is in two splits, and all 1000 ids are in one."""
    folder = real_data / "faceforensics-splits"
    splits = official_splits(folder)
    assert Counter(splits.values()) == {"train": 720, "val": 140, "test": 140}
    pairs = [
        pair
        for split in ("train", "val", "test")
        for pair in json.loads((folder / f"{split}.json").read_text())
    ]
    names = [f"{one}_{other}" for pair in pairs for one, other in (pair, pair[::-1])]
    root = draw(tmp_path, {f"manipulated_sequences/FaceSwap/c23/videos/{name}.mp4": "" for name in names})
    draw(root, {f"original_sequences/youtube/c23/videos/{video}.mp4": "" for video in splits})
    shutil.copytree(folder, root / "splits")
    found = list(videos(root))
    assert not reasons(found) and len(found) == 2000
    for label in (FAKE, REAL):
        assert Counter(row.split for row in found if row.label == label) == {
            "train": 720,
            "val": 140,
            "test": 140,
        }
    family = families([row.groups for row in found], [row.path for row in found])
    torn = crossing_families(family, [row.split for row in found])
    # the seven YouTube videos whose two sequences the lists part
    crossing = {}
    for row in found:
        for group in row.groups:
            if group.startswith("ff-youtube-") and row.label == REAL:
                crossing.setdefault(group, []).append((row.path.split("/")[-1][:3], row.split))
    crossing = {group: clips for group, clips in crossing.items() if len({split for _, split in clips}) > 1}
    assert {tuple(sorted(video for video, _ in clips)) for clips in crossing.values()} == {
        ("605", "606"), ("639", "640"), ("755", "756"), ("837", "838"), ("875", "876"), ("954", "955"), ("982", "983"),
    }  # fmt: skip
    assert 0 < len(torn) <= 7, "a family may hold two of them"
    (root / "splits" / "conversion_dict.json").unlink()
    found = list(videos(root))
    family = families([row.groups for row in found], [row.path for row in found])
    assert len(set(family)) == 500 and not crossing_families(family, [row.split for row in found]), (
        "without it nothing shows"
    )


def test_faceforensics_conversion_dict_that_is_none(tmp_path):
    root = ff(tmp_path, train=[["1", "2"]], val=[["3", "4"]], test=[["5", "6"]])
    (root / "conversion_dict.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="does not map ids to videos"):
        list(videos(root))
