"""One gate for strangers' files: no module outside dfd/media opens a picture, whatever it calls the opener."""

import ast
from pathlib import Path

import pytest

import dfd

PACKAGE = Path(dfd.__file__).parent
MODULES = sorted(
    path.relative_to(PACKAGE)
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] != "media"
)
# packages that do little else than open pictures or their metadata
READERS = {
    "simplejpeg",
    "piexif",
    "pillow_heif",
    "exifread",
    "imageio",
    "skimage",
    "tifffile",
    "jpeglib",
    "turbojpeg",
    "pyexiv2",
    "rawpy",
}
# what opens a picture in packages that do other things too
OPENERS = {
    "PIL.Image.open",
    "PIL.ImageFile.Parser",
    "cv2.imread",
    "cv2.imreadmulti",
    "cv2.imdecode",
    "cv2.imdecodemulti",
    "cv2.VideoCapture",
    "matplotlib.pyplot.imread",
    "matplotlib.image.imread",
    "torchvision.io.read_image",
    "torchvision.io.decode_image",
    "torchvision.io.decode_jpeg",
    "torchvision.io.decode_png",
    "torchvision.datasets.folder.default_loader",
}
# they read a file that dfd/media has cleaned (plain_jpeg), or are given a file by a process of their own
EXEMPT = {
    "jpegio": "forensics/jpeg/dct_coefficients.py",
    "c2pa": "forensics/provenance/c2pa_process.py",
}


def opened(code: str) -> set[str]:
    """Full names of what a module uses to open pictures."""
    tree = ast.parse(code)
    names: dict[str, str] = {}  # what a name of the module stands for
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                found |= {alias.name.partition(".")[0]} & (READERS | set(EXEMPT))
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                found |= {f"{node.module}.{alias.name}"} & OPENERS
            found |= {node.module.partition(".")[0]} & (READERS | set(EXEMPT))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = ast.unparse(node)
            first, dot, rest = path.partition(".")
            found |= {names.get(first, "") + dot + rest} & OPENERS
            if node.attr == "getexif":  # unbounded: dfd.media.exif.read_exif is not
                found.add("getexif")
    return found


@pytest.mark.slow
def test_no_other_module_opens_pictures():
    wrong = []
    for module in MODULES:
        found = opened((PACKAGE / module).read_text(encoding="utf-8"))
        found -= {name for name, path in EXEMPT.items() if module.as_posix() == path}
        wrong += [
            f"{module} opens pictures by {name}: ask dfd.media for what it needs" for name in sorted(found)
        ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    "code",
    [
        "from PIL import Image\nImage.open(x)",
        "from PIL import Image as I\ndef f(x):\n    return I.open(x).size",
        "import PIL.Image\nPIL.Image.open(x)",
        "def f():\n    from PIL.Image import open as look",
        "import cv2\ncv2.imdecode(x, 1)",
        "import cv2 as c\nread = c.imread",
        "from cv2 import imread",
        "import simplejpeg",
        "def f():\n    import piexif",
        "from pillow_heif import open_heif",
        "image.getexif()",
        "import jpegio",
    ],
)
def test_whatever_it_is_called_it_is_found(code):
    assert opened(code)


@pytest.mark.parametrize(
    "code", ["from PIL import Image\nImage.fromarray(x)", "import cv2\ncv2.imencode('.png', x)", "open('x')"]
)
def test_what_opens_no_picture_is_left_alone(code):
    assert not opened(code)
