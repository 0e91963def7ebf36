import io

import cv2
import numpy as np
import pytest
from PIL import Image

from dfd.media.encode import SUBSAMPLING, encode_jpeg


@pytest.mark.parametrize("quality", [10, 75, 95, 100])
@pytest.mark.parametrize("subsampling", SUBSAMPLING)
def test_a_file_is_what_pillow_writes(quality, subsampling):
    rough = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = cv2.resize(rough, (67, 41), interpolation=cv2.INTER_CUBIC)
    before = image.copy()
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=":".join(subsampling))
    assert encode_jpeg(image, quality, subsampling) == file.getvalue()
    np.testing.assert_array_equal(image, before)


def test_chroma_is_halved_both_ways_by_default():
    image = np.full((16, 16, 3), 90, np.uint8)
    assert encode_jpeg(image, 90) == encode_jpeg(image, 90, "420") != encode_jpeg(image, 90, "444")
