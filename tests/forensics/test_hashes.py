"""Hashes: a file's SHA-256, and a perceptual hash that copies keep."""

import hashlib
import io

import numpy as np
from photos import jpeg, photo, png
from PIL import Image

from dfd.forensics.hashes import hashes
from dfd.media.decode import image_info_and_luma
from dfd.media.perceptual_hash import perceptual_hash


def bits(data: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(hashes(data).facts["phash"]), np.uint8))


def test_the_file_and_its_picture_have_their_hashes():
    data = jpeg(photo(1))
    finding = hashes(data)
    assert finding.status == "clear" and finding.facts["bytes"] == len(data)
    assert finding.facts["sha256"] == hashlib.sha256(data).hexdigest()
    # the one that shards have, so that a photo can be looked up in a set
    assert finding.facts["phash"] == perceptual_hash(image_info_and_luma(data)[1]).hex()


def test_copies_keep_the_perceptual_hash_and_strangers_have_another():
    picture = photo(1)
    small = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.LANCZOS))
    for copy in (jpeg(picture, 60), png(small), jpeg(small, 75)):
        assert (bits(png(picture)) != bits(copy)).sum() <= 16
    assert (bits(png(picture)) != bits(png(photo(2)))).sum() > 66


def test_what_cannot_be_decoded_has_its_sha256():
    assert hashes(b"no picture").facts["sha256"] == hashlib.sha256(b"no picture").hexdigest()
    transparent = io.BytesIO()
    Image.new("RGBA", (40, 40), (9, 9, 9, 9)).save(transparent, "PNG")
    for data in (b"", b"no picture", jpeg(photo(3, 64))[:700], transparent.getvalue()):
        finding = hashes(data)
        assert finding.answer == "file_alone" and "phash" not in finding.facts
