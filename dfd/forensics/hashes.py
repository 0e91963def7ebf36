"""Hashes: the SHA-256 that names a file, and the perceptual hash that names its picture."""

from __future__ import annotations

import hashlib

from dfd.forensics.finding import Finding, Method
from dfd.media.decode import image_info_and_luma
from dfd.media.formats import Undecodable
from dfd.media.perceptual_hash import perceptual_hash

METHOD = Method("hashes", "FIPS 180-4 (SHA-256); Zauner 2010 (pHash)", kind="describes")


def hashes(data: bytes) -> Finding:
    """SHA-256 of a file and perceptual hash of its picture, the one that shards have; it only describes.

    A picture that cannot be decoded, or is transparent, has the SHA-256 alone.
    """
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    try:
        luma = image_info_and_luma(data)[1]
    except Undecodable:
        return METHOD("clear", "file_alone", facts=facts)
    return METHOD("clear", "both", facts=facts | {"phash": perceptual_hash(luma).hex()})
