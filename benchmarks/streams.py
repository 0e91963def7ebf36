"""The frequency streams and fusions that benchmarks compare, as a config names them.

A stream is a spectrum and the net that reads it, each {"class_path", "init_args"}, as `dfd.models.build` and
the YAML of `dfd fit` take them.
"""

from typing import Any

Part = dict[str, Any]


def part(name: str, /, **arguments: Any) -> Part:
    return {"class_path": f"dfd.models.{name}", "init_args": arguments}


def streams(width: int = 32) -> dict[str, tuple[Part, Part]]:
    """Each spectrum with its net, a CNN of this width where it gives maps."""

    def cnn(in_channels: int) -> Part:
        return part("SmallCNN", width=width, in_channels=in_channels)

    return {
        "log": (part("LogSpectrum"), cnn(3)),
        "dct": (part("DCTSpectrum"), cnn(3)),
        "azimuthal": (part("AzimuthalSpectrum"), part("MLP", width=64, in_channels=64)),
        "local": (part("LocalSpectrum"), cnn(64)),
        "phase": (part("PhaseSpectrum"), cnn(1)),
        "fad": (part("FAD"), cnn(9)),
        "lfs": (part("LFS"), cnn(6)),
        "srm": (part("SRM"), cnn(9)),
        "bayar": (part("BayarConv"), cnn(3)),
    }


STREAMS = streams()
FUSIONS: dict[str, Part] = {
    "concat": part("Concat"),
    "gate": part("Gate"),
    "cross": part("CrossAttention"),
}
