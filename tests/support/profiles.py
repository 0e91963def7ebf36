"""ICC profiles made by hand (ICC.1:2022), for pictures that are not sRGB."""

import struct

import numpy as np

# columns: red, green and blue in XYZ, adapted to D50
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
_D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(primaries: np.ndarray, gamma: float) -> bytes:
    """A profile of a screen: three primaries, one power for all."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags = {name + b"XYZ": _xyz(primaries[:, at]) for at, name in enumerate((b"r", b"g", b"b"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def gray_profile(gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def cmyk_profile() -> bytes:
    """A press whose inks take away light evenly: lightness falls with the sum of inks, colours are gray."""
    inks = np.stack(np.meshgrid(*[(0.0, 1.0)] * 4, indexing="ij"), -1).reshape(-1, 4)
    lightness = 255 * np.clip(1 - inks @ (0.2, 0.2, 0.2, 0.9), 0, 1)
    grid = np.stack([lightness, np.full(16, 128), np.full(16, 128)], -1).round().astype(np.uint8).tobytes()
    ramp = bytes(range(256))
    head = (
        b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    )
    table = head + 4 * ramp + grid + 3 * ramp
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def _xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * each) for each in values))


def _profile(kind: bytes, space: bytes, between: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"test\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + text,
        b"wtpt": _xyz(_D50),
        **tags,
    }
    at, places, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        places += name + struct.pack(">II", at + len(body), len(content))
        body += content
    size = at + len(body)
    head = struct.pack(
        ">I4sI4s4s4s12s4s", size, b"lcms", 0x02400000, kind, space, between, bytes(12), b"acsp"
    )
    head += bytes(28) + struct.pack(">3i", *(round(65536 * each) for each in _D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + places + body
