"""Files with C2PA manifests, written by hand: right hashes, and a signature that is none."""

import hashlib
import struct

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def with_manifest(jpeg: bytes, source_type: str = "digitalCapture", boxes: int = 1) -> bytes:
    """A JPEG file with a manifest whose hashes fit, in its second segment.

    Args:
        source_type: that its only action declares.
        boxes: how many segments the manifest is cut into.
    """
    length = len(_segments(_store(jpeg, source_type, 0), boxes))
    segments = _segments(_store(jpeg, source_type, length), boxes)
    assert len(segments) == length
    return jpeg[:2] + segments + jpeg[2:]


def changed(data: bytes) -> bytes:
    """The file with one bit of its last pixels changed."""
    at = len(data) - 40
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def cbor(value: object) -> bytes:
    """RFC 8949, of plain values."""
    match value:
        case bool() | None:
            return bytes(({False: 0xF4, True: 0xF5, None: 0xF6}[value],))
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list():
            return _head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            return _head(5, len(value)) + b"".join(cbor(key) + cbor(each) for key, each in value.items())
    raise TypeError(value)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    size = next(size for size in range(4) if number < 1 << (8 << size))
    return bytes((major << 5 | 24 + size,)) + number.to_bytes(1 << size, "big")


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def superbox(kind: bytes, label: str, *inner: bytes) -> bytes:
    described = box(
        b"jumd", kind + bytes.fromhex("00110010800000aa00389b71") + b"\3" + label.encode() + b"\0"
    )
    return box(b"jumb", described + b"".join(inner))


def _store(jpeg: bytes, source_type: str, length: int) -> bytes:
    """Of a file whose manifest takes so many bytes behind the first two."""
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + source_type, "when": "2026-01-02"}
    actions = superbox(b"cbor", "c2pa.actions.v2", box(b"cbor", cbor({"actions": [action]})))
    # lengths below 65536 in so many bytes whatever they are: the store must not change its size with them
    exclusion = cbor("start") + b"\x19\0\2" + cbor("length") + b"\x19" + struct.pack(">H", length)
    hashed = (
        _head(5, 3)
        + (cbor("exclusions") + _head(4, 1) + _head(5, 2) + exclusion)
        + (cbor("alg") + cbor("sha256"))
        + (cbor("hash") + cbor(hashlib.sha256(jpeg).digest()))
    )
    binding = superbox(b"cbor", "c2pa.hash.data", box(b"cbor", hashed))
    links = [
        {
            "url": f"self#jumbf=c2pa.assertions/{name}",
            "hash": hashlib.sha256(assertion[8:]).digest(),
        }
        for name, assertion in (("c2pa.actions.v2", actions), ("c2pa.hash.data", binding))
    ]
    claim = {
        "instanceID": "xmp:iid:1",
        "claim_generator_info": {"name": "A drawing program", "version": "3"},
        "signature": "self#jumbf=c2pa.signature",
        "created_assertions": links,
        "alg": "sha256",
        "dc:title": "A picture",
    }
    manifest = superbox(
        b"c2ma",
        "urn:c2pa:1",
        superbox(b"c2as", "c2pa.assertions", actions, binding),
        superbox(b"c2cl", "c2pa.claim.v2", box(b"cbor", cbor(claim))),
        superbox(b"c2cs", "c2pa.signature", box(b"cbor", cbor([b"none"]))),
    )
    return superbox(b"c2pa", "c2pa", manifest)


def _segments(store: bytes, boxes: int) -> bytes:
    """APP11 segments of a JPEG; each repeats the head of the box."""
    head, body = store[:8], store[8:]
    step = -(-len(body) // boxes)
    segments = b""
    for number, at in enumerate(range(0, len(body), step), 1):
        content = b"JP" + struct.pack(">HI", 1, number) + head + body[at : at + step]
        segments += b"\xff\xeb" + struct.pack(">H", 2 + len(content)) + content
    return segments
