"""OpenForensics (Le et al., ICCV 2021): photographs with several faces each, some of them forged, with boxes
and outlines.

    Images/{Train,Val,Test-Dev,Test-Challenge}/NAME.jpg
    {Train,Val,Test-Dev,Test-Challenge}_poly.json, in COCO's format, beside Images or in a folder above it

One row a face: its box, and of a forged one its outline, of which the mask is drawn. All faces of a
photograph are one family. Test-Challenge holds degraded photographs and is a source of its own. manjilkarki's
set, cut from this one, has a reader of its own.
"""

import json
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dfd.batch import FAKE, REAL
from dfd.prepare.readers.row import LABEL_WORDS, FaceBox, Row, words
from dfd.prepare.readers.walk import pictures
from dfd.shards.rejects import Reject

_SPLITS = {  # by the file's name: split, source
    "Test-Challenge": ("test", "openforensics-challenge"),
    "Test-Dev": ("test", "openforensics"),
    "Train": ("train", "openforensics"),
    "Val": ("val", "openforensics"),
}
_METHOD = "openforensics"


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    found = root.is_dir() and any((root / f"{name}_poly.json").is_file() for name in _SPLITS)
    return "" if found else str(root / "Train_poly.json")


def rows(root: Path) -> Iterator[Row | Reject]:
    """One row a face.

    Raises:
        ValueError: a list is not in COCO's format, its categories are not real and fake, or a photograph is
            in none of the places where it could be.
    """
    for name, (split, source) in _SPLITS.items():
        path = root / f"{name}_poly.json"
        if path.is_file():
            yield from _of(root, name, _read(path), split, source)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        return {name: list(found[name]) for name in ("images", "annotations", "categories")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not in COCO's format, with images, annotations and categories: {error!r}."
        ) from error


def _of(root: Path, name: str, coco: Mapping[str, Any], split: str, source: str) -> Iterator[Row | Reject]:
    told = f"{name}_poly.json"
    labels = _labels(told, coco["categories"])
    images = {image["id"]: image for image in coco["images"]}
    paths: dict[Any, str] = {}
    numbers: dict[Any, int] = {}
    for at, line in enumerate(coco["annotations"]):
        image = images.get(line.get("image_id"))
        if image is None:
            yield Reject(f"{told}:annotation {at}", f"no image has the id {line.get('image_id')!r}")
            continue
        if image["id"] not in paths:
            paths[image["id"]] = _path(root, name, str(image["file_name"]))
        number = numbers[image["id"]] = numbers.get(image["id"], 0) + 1
        path = paths[image["id"]]
        if line.get("category_id") not in labels:
            yield Reject(
                f"{path}/{number}",
                f"category {line.get('category_id')!r} is neither the real nor the fake one",
            )
            continue
        label = labels[line["category_id"]]
        try:
            face = _face(number, image, line, label)
        except (KeyError, TypeError, ValueError) as error:
            yield Reject(f"{path}/{number}", f"annotation {at} of {told}: {error!r}")
            continue
        yield Row(path, label, split=split, source=source, method=_METHOD if label == FAKE else "", face=face)
    for image in images.values():
        if image["id"] not in paths:
            yield Reject(str(image["file_name"]), f"{told} lists no face in it")
    known = {*paths.values(), *(str(image["file_name"]) for image in images.values())}
    folder = f"Images/{name}"
    for path in pictures(root, folder) if (root / folder).is_dir() else ():
        if isinstance(path, Reject):
            yield path
        elif path not in known:
            yield Reject(path, f"not in {told}")


def _labels(told: str, categories: list[Mapping[str, Any]]) -> dict[Any, int]:
    """The class of each category's id, by its name."""
    labels = {}
    for category in categories:
        found = [LABEL_WORDS[word] for word in words(str(category.get("name"))) if word in ("real", "fake")]
        if len(found) == 1:
            labels[category.get("id")] = found[0]
    if sorted(labels.values()) != [REAL, FAKE]:
        names = ", ".join(repr(category.get("name")) for category in categories) or "none"
        raise ValueError(
            f"{told}: its categories are {names}; needed are one with the word real and one with the word "
            "fake."
        )
    return labels


def _path(root: Path, name: str, file_name: str) -> str:
    """Where a photograph lies; as the list says where it is nowhere."""
    base = posixpath.basename(file_name)
    places = (file_name, f"Images/{file_name}", f"Images/{name}/{base}", f"{name}/{base}")
    return next((place for place in places if (root / place).is_file()), file_name)


def _face(number: int, image: Mapping[str, Any], line: Mapping[str, Any], label: int) -> FaceBox:
    x, y, width, height = (float(side) for side in line["bbox"])
    if not (width > 0 and height > 0):
        raise ValueError(f"a box of {width:g} x {height:g} pixels")
    outline = line.get("segmentation") or []
    if not isinstance(outline, list):
        raise ValueError("its outline is no list of polygons")
    polygons = tuple(tuple(float(point) for point in polygon) for polygon in outline) if label == FAKE else ()
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon needs three points or more, x and y of each")
    return FaceBox(number, (x, y, width, height), (int(image["width"]), int(image["height"])), polygons)
