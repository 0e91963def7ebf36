"""Cues of the face on public sets: what each tells of fakes, of blends and of warped faces, and how often the one that
says "found" does so of real ones.

The root holds 140K, manjilkarki, dagnelies and ciplab in their layouts, and may hold camera originals in a folder
exif-samples. Blends are `dfd.augment.FaceBlend` with the mesh; a warped face is made at 1 / 1.5 to 1 / 2.5 of its size and put
back with a soft border.

    python benchmarks/face_cues.py data --faces yunet.onnx --mesh face_landmark.tflite --num 400
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import rankdata

from dfd.augment import FaceBlend
from dfd.batch import REAL
from dfd.forensics.face import FaceFinder, boundary, eyes, light, symmetry, teeth
from dfd.forensics.face.geometry import FaceGeometry
from dfd.media.decode import Undecodable, decode
from dfd.media.face_mesh import FaceMesh
from dfd.media.faces import FaceDetector

SETS = {
    "140K": ("140k-real-and-fake-faces/**/real/*.jpg", "140k-real-and-fake-faces/**/fake/*.jpg"),
    "manjilkarki": ("deepfake-and-real-images/**/Real/*.jpg", "deepfake-and-real-images/**/Fake/*.jpg"),
    "ciplab": (
        "real-and-fake-face-detection/**/training_real/*.jpg",
        "real-and-fake-face-detection/**/training_fake/*.jpg",
    ),
}
CONDITIONS = ("as found", "JPEG 80", "at .6")


def files_of(root: Path, num: int, rng: np.random.Generator) -> dict[tuple[str, str], list[Path]]:
    found = {}
    for name, patterns in SETS.items():
        for label, pattern in zip(("real", "fake"), patterns, strict=True):
            found[name, label] = sorted(root.glob(pattern))
    table = root / "deepfake-faces" / "metadata.csv"
    if table.is_file():
        for line in table.read_text().splitlines()[1:]:
            fields = line.split(",")
            label = "fake" if "FAKE" in fields else "real"
            file = table.parent / "faces_224" / f"{Path(fields[0]).stem}.jpg"
            found.setdefault(("dagnelies", label), []).append(file)
    chosen = {
        key: sorted(rng.permutation(np.array(files, object))[:num]) for key, files in found.items() if files
    }
    cameras = sorted((root / "exif-samples").glob("*.jpg"))
    return chosen | ({("camera originals", "real"): cameras} if cameras else {})


def all_cues(pixels: np.ndarray, face: FaceGeometry) -> dict[str, float]:
    cues = dict(boundary.measure(pixels, face)._asdict()) if face.unit >= boundary.MIN_UNIT else {}
    left, right = eyes.measure(pixels, face)
    if left.iris and right.iris and min(left.width, right.width) >= eyes.MIN_WIDTH:
        cues["highlights"] = eyes.disagreement(left, right)
        cues["pupils"] = 1 - min(left.pupil_iou, right.pupil_iou)
    if face.mesh is not None:
        if np.ptp(face.outline("inner_mouth")[:, 0]) >= teeth.MIN_WIDTH:
            cues["teeth"] = teeth.measure(pixels, face)[0]
        if face.unit >= symmetry.MIN_UNIT and abs(face.yaw) <= symmetry.MAX_YAW:
            cues["shape"], cues["halves"] = symmetry.measure(pixels, face)
        lit = light.measure(pixels, face) if face.unit >= light.MIN_UNIT else None
        if lit is not None:
            cues["light"] = lit.residual
    return cues


def warped(pixels: np.ndarray, face: FaceGeometry, rng: np.random.Generator) -> np.ndarray:
    weight = np.clip((boundary.depth_inside(pixels.shape, face) - 0.1) / 0.15, 0, 1)[..., None]
    factor = rng.uniform(1.5, 2.5)
    small = cv2.resize(pixels, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return (soft * weight + pixels * (1 - weight)).round().astype(np.uint8)


def delivered(pixels: np.ndarray, face: FaceGeometry, condition: str) -> tuple[np.ndarray, FaceGeometry]:
    if condition == "JPEG 80":
        encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        return cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), face
    if condition == "at .6":
        return cv2.resize(pixels, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), face.moved(0, 0, 0.6)
    return pixels, face


def auroc(real: list[float], fake: list[float]) -> str:
    """With its 95% interval (Hanley and McNeil 1982)."""
    one, other = (np.array([value for value in values if math.isfinite(value)]) for values in (real, fake))
    if min(len(one), len(other)) < 20:
        return f"- ({len(one)} + {len(other)})"
    ranks = rankdata(np.concatenate([one, other]))[len(one) :]
    area = (ranks.sum() - len(other) * (len(other) + 1) / 2) / (len(one) * len(other))
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (len(other) - 1) * (first - area**2) + (len(one) - 1) * (second - area**2)
    reach = 1.96 * math.sqrt(max(spread, 0) / (len(one) * len(other)))
    return f"{area:.2f} [{max(area - reach, 0):.2f}, {min(area + reach, 1):.2f}] ({len(one)} + {len(other)})"


def share(values: list[float]) -> str:
    """Of those above the threshold of what could be judged."""
    judged = [value for value in values if math.isfinite(value)]
    alarms = sum(value > boundary.THRESHOLD for value in judged)
    return f"{alarms / len(judged):.3f} ({alarms} of {len(judged)})" if judged else "-"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--mesh", type=Path)
    parser.add_argument("--num", type=int, default=400, help="pictures of a class and set")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(arguments.seed)
    finder = FaceFinder(FaceDetector(arguments.faces), FaceMesh(arguments.mesh) if arguments.mesh else None)
    cues: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (name, label), files in files_of(arguments.root, arguments.num, rng).items():
        for file in files:
            try:
                pixels = decode(file.read_bytes())
            except Undecodable:
                continue
            found = finder(pixels)
            if not found:
                continue
            face = found[0]
            for cue, value in all_cues(pixels, face).items():
                cues[name, label][cue].append(value)
            if label != "real" or face.unit < boundary.MIN_UNIT:
                continue
            points = {} if face.mesh is None else {"landmarks": face.mesh[:, :2]}
            blend = FaceBlend()({"image": pixels, "label": REAL, **points}, rng)["image"]
            soft = warped(pixels, face, rng)
            for cue, value in boundary.measure(blend, face)._asdict().items():
                cues[name, "blend"][cue].append(value)
            for cue, value in boundary.measure(soft, face)._asdict().items():
                cues[name, "warped"][cue].append(value)
            for condition in CONDITIONS[1:]:
                for kind, image in (("real", pixels), ("warped", soft)):
                    changed, moved = delivered(image, face, condition)
                    if moved.unit >= boundary.MIN_UNIT:
                        cues[name, f"{kind}, {condition}"]["detail"].append(
                            boundary.measure(changed, moved).detail
                        )
    sets = [name for name, label in cues if label == "real"]
    both = [name for name in sets if (name, "fake") in cues]
    print(
        "| cue | " + " | ".join(f"{name}: fakes" for name in both) + " |\n" + "|---" * (len(both) + 1) + "|"
    )
    for cue in (
        "detail",
        "softness",
        "noise",
        "seam",
        "highlights",
        "pupils",
        "teeth",
        "shape",
        "halves",
        "light",
    ):
        row = [auroc(cues[name, "real"][cue], cues[name, "fake"][cue]) for name in both]
        print(f"| {cue} | " + " | ".join(row) + " |")
    print(
        "\n| cue | " + " | ".join(f"{name}: {kind}" for name in both for kind in ("blends", "warped")) + " |"
    )
    print("|---" * (2 * len(both) + 1) + "|")
    for cue in ("detail", "softness", "noise", "seam"):
        row = [
            auroc(cues[name, "real"][cue], cues[name, kind][cue])
            for name in both
            for kind in ("blend", "warped")
        ]
        print(f"| {cue} | " + " | ".join(row) + " |")
    print(f"\n| face_boundary above {boundary.THRESHOLD} | " + " | ".join(sets) + " |")
    print("|---" * (len(sets) + 1) + "|")
    kinds = ["real", *(f"real, {condition}" for condition in CONDITIONS[1:])]
    kinds += ["fake", "blend", "warped", *(f"warped, {condition}" for condition in CONDITIONS[1:])]
    for kind in kinds:
        print(f"| {kind} | " + " | ".join(share(cues[name, kind]["detail"]) for name in sets) + " |")
    print("\n| real faces, 5% / 50% / 95% | " + " | ".join(sets) + " |\n" + "|---" * (len(sets) + 1) + "|")
    for cue in (
        "detail",
        "softness",
        "noise",
        "seam",
        "highlights",
        "pupils",
        "teeth",
        "shape",
        "halves",
        "light",
    ):
        row = []
        for name in sets:
            known = [value for value in cues[name, "real"][cue] if math.isfinite(value)]
            row.append(
                " / ".join(f"{value:.2f}" for value in np.quantile(known, [0.05, 0.5, 0.95]))
                if len(known) > 4
                else "-"
            )
        print(f"| {cue} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
