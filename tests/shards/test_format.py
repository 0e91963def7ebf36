"""What the names in a table say."""

import pytest

from dfd.shards.format import clip_of


@pytest.mark.parametrize(
    ("path", "clip"),
    [
        ("clips/a.mp4/000012.png", "clips/a.mp4"),
        ("A.MOV/3.png", "A.MOV"),
        (
            "manipulated_sequences/FaceSwap/c23/images/071_054/0003.png",
            "manipulated_sequences/FaceSwap/c23/images/071_054",
        ),
        ("faces/real/photo.jpg", ""),
        ("images/holiday/beach.jpg", ""),
        ("video.mp4", ""),
        ("photo.jpg/2.png", ""),
    ],
)
def test_a_clip_is_known_by_the_path_of_its_images(path, clip):
    assert clip_of(path) == clip
