"""FaceForensics++ and the DeepFakeDetection videos of actors that come with it, in any of its three
compressions.

    original_sequences/{youtube,actors}/{raw,c23,c40}/videos/071.mp4, 01__walking_outside.mp4
    manipulated_sequences/METHOD/{raw,c23,c40}/videos/071_054.mp4, 01_02__walking_outside__YVGY8LOK.mp4
    manipulated_sequences/METHOD/masks/videos/071_054.mp4, or frames of it in masks/images/071_054
    splits/{train,val,test}.json

METHOD is DeepFakeDetection, Deepfakes, Face2Face, FaceShifter, FaceSwap or NeuralTextures. Frames lie where
the set's script puts them, in `images/071_054/0000.png` beside `videos`. With --frames the videos are read,
else the frames where there are any. The source is named after the compression: faceforensics-c23.

A fake carries two identities, the target (071, whose video it is) and the donor (054, whose face it is):
groups "ff-071" and "ff-054". Actors are "ff-actor-01". The official lists are pairs of ids; they may lie in
the folder itself. They say nothing of actors, who go by their hash; all who were swapped with one another are
one family.

Where conversion_dict.json lies beside the lists or in the folder, the YouTube video that a sequence was cut
from is a group too. As published, the lists part seven such videos (605 is in train, 606 in val): `dfd
prepare` refuses them then unless it is told to follow them with --allow-leaks, as published numbers do.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dfd.batch import FAKE, REAL
from dfd.prepare.readers.row import Row
from dfd.prepare.readers.walk import listed, pictures, unusable
from dfd.shards.rejects import Reject
from dfd.shards.splits import SPLITS

_FAKES = ("DeepFakeDetection", "Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures")
_FOLDERS = [
    f"{folder}/{compression}"
    for folder in (
        *(f"manipulated_sequences/{method}" for method in _FAKES),
        "original_sequences/actors",
        "original_sequences/youtube",
    )
    for compression in ("c23", "c40", "raw")
]
_ACTORS = ("actors", "DeepFakeDetection")
_NAMES = {"youtube": r"(\d{3})", "actors": r"(\d\d)__.+", "DeepFakeDetection": r"(\d\d)_(\d\d)__.+"}
_CONVERSION = "conversion_dict.json"
_SWAP = r"(\d{3})_(\d{3})"  # target, donor


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    return (
        ""
        if _has(root, "images") or _has(root, "videos")
        else str(root / "original_sequences/youtube/c23/videos/000.mp4")
    )


def _has(root: Path, kind: str) -> bool:
    """Whether there is a folder of frames, or a video."""
    folders = (root / folder / kind for folder in _FOLDERS)
    inside = (entry for folder in folders if folder.is_dir() for entry in listed(folder))
    return any(
        entry.is_dir(follow_symlinks=False) if kind == "images" else entry.name.endswith(".mp4")
        for entry in inside
    )


def rows(root: Path) -> Iterator[Row | Reject]:
    """One row an extracted frame; one a video where no frames are extracted.

    Raises:
        ValueError: the official lists are incomplete or no lists of pairs of ids.
    """
    if not _has(root, "images"):
        yield from videos(root)
        return
    for clip in _clips(root, "images"):
        if isinstance(clip, Reject):
            yield clip
            continue
        for path in pictures(root, clip.path):
            yield path if isinstance(path, Reject) else replace(clip, path=path, mask=_mask(root, path))


def videos(root: Path) -> Iterator[Row | Reject]:
    """One row a video file, with the original that a fake was made of, and with the mask video where there is
    one.

    Raises as `rows` does.
    """
    for clip in _clips(root, "videos"):
        if isinstance(clip, Row) and clip.label == FAKE:
            _, method, compression, _, name = clip.path.split("/")
            original = f"original_sequences/{_original(method, name)}".replace("*", compression)
            clip = replace(clip, mask=_mask(root, clip.path), original=original)
        yield clip


def _mask(root: Path, path: str) -> str | None:
    """The mask of a forged frame or video, where there is one: METHOD/masks beside METHOD's compressions."""
    sequences, method, _, inside = path.split("/", 3)
    mask = f"{sequences}/{method}/masks/{inside}"
    return mask if sequences == "manipulated_sequences" and (root / mask).is_file() else None


def _original(method: str, name: str) -> str:
    """The video that a fake was made of, below original_sequences; "*" is for the compression."""
    if method in _ACTORS:
        target, rest = name.split("__", 1)
        return f"actors/*/videos/{target.split('_')[0]}__{rest.rsplit('__', 1)[0]}.mp4"
    return f"youtube/*/videos/{name.split('_')[0]}.mp4"


def official_splits(root: Path) -> dict[str, str]:
    """The split of each id, of train.json, val.json and test.json in `root` or its folder `splits`; {} where
    there are none.

    Raises:
        ValueError: one of them is missing or is no list of pairs of ids, or an id is in two.
    """
    folder = next(
        (
            folder
            for folder in (root / "splits", root)
            if any((folder / f"{name}.json").is_file() for name in SPLITS)
        ),
        None,
    )
    found: dict[str, str] = {}
    for split in SPLITS if folder else ():
        path = folder / f"{split}.json"
        for video in _ids(path):
            if found.setdefault(video, split) != split:
                raise ValueError(
                    f"{path}: {video} is also in {found[video]}.json. Take the lists as they were published."
                )
    return found


def youtube_videos(root: Path) -> dict[str, str]:
    """The YouTube video that each id was cut from, of conversion_dict.json in `root` or its folder `splits`;
    {} without one.

    Raises:
        ValueError: the file does not map ids to "VIDEO NUMBER".
    """
    for path in (root / "splits" / _CONVERSION, root / _CONVERSION):
        if path.is_file():
            try:
                return {
                    video: made.rsplit(maxsplit=1)[0] for video, made in json.loads(path.read_bytes()).items()
                }
            except (ValueError, AttributeError, IndexError, RecursionError) as error:
                raise ValueError(
                    f'{path} does not map ids to videos such as {{"605": "VIDEO 0"}}: {error}.'
                ) from error
    return {}


def _ids(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(
            f"{path} is missing beside the other official lists. Add it, or take all three away."
        )
    try:
        pairs = json.loads(path.read_bytes())
        return [video for target, donor in pairs for video in (str(target), str(donor))]
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'{path} is no list of pairs of ids such as [["071", "054"]]: {error}.') from error


def _clips(root: Path, kind: str) -> Iterator[Row | Reject]:
    """A row for each video, or each folder of frames, as it is named."""
    splits, cut_from = official_splits(root), youtube_videos(root)
    for folder in _FOLDERS:
        if not (root / folder / kind).is_dir():
            continue
        for entry in listed(root / folder / kind):
            path = posixpath.join(folder, kind, entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            if reason := unusable(entry):
                yield Reject(path, reason)
            elif kind == "videos" and not is_folder and entry.name.endswith(".mp4"):
                yield _clip(path, entry.name.removesuffix(".mp4"), splits, cut_from)
            elif kind == "images" and is_folder:
                yield _clip(path, entry.name, splits, cut_from)
            else:
                yield Reject(path, "no video NNN.mp4" if kind == "videos" else "no folder of frames")


def _clip(path: str, name: str, splits: Mapping[str, str], cut_from: Mapping[str, str]) -> Row | Reject:
    sequences, of, compression, *_ = path.split("/")
    named = re.fullmatch(_NAMES.get(of, _SWAP), name)
    if not named:
        return Reject(path, f"not named as the videos of {of} are")
    actors = of in _ACTORS
    home = {splits.get(video) for video in named.groups()} if splits and not actors else {None}
    if len(home) > 1 or (splits and not actors and None in home):
        said = ", ".join(f"{video} in {splits.get(video) or 'none'}" for video in named.groups())
        return Reject(path, f"the official lists have no one split for it: {said}")
    fake = sequences == "manipulated_sequences"
    groups = {f"ff-{'actor-' if actors else ''}{video}" for video in named.groups()}
    if not actors:
        groups |= {f"ff-youtube-{cut_from[video]}" for video in named.groups() if video in cut_from}
    return Row(
        path,
        FAKE if fake else REAL,
        groups=tuple(sorted(groups)),
        split=home.pop(),
        source=f"faceforensics-{compression}",
        method=of if fake else "",
    )
