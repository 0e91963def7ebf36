"""Table reader: a CSV or JSON Lines file that lists pictures by path and label, and what else is known.

    path,label,groups,split,source,method,mask
    faces/a.png,real,id07,train,ffhq,,
    faces/b.png,fake,id07;id12,train,ffhq,swap,masks/b.png

`path` and `mask` are relative to the file's folder, or to that of `--root`. `label` is real, fake, 0 (real),
1 (fake), or what `--real` and `--fake` name. `group` or `groups` are identities, several separated by ";" (in
JSON Lines a list will do); `split` is train, val or test in the usual spellings. A `path` may be that of a
video, of which faces are cut; `original` then names the video that a forged one was made of, whose face boxes
it is cut by, and has to be a path of the table too. Other columns are named and not used, unless one looks
like one of these misspelt.
"""

import logging
import posixpath
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dfd.batch import LABELS
from dfd.media.files import VIDEO_SUFFIXES, is_litter
from dfd.prepare.checks import MAX_REJECTED
from dfd.prepare.readers.class_names import NO_NAMES, ClassNames, which_is_which
from dfd.prepare.readers.lines import SUFFIXES, missing_columns, read_lines, why_unusable
from dfd.prepare.readers.row import SPLIT_WORDS, Row, fault_of, meant
from dfd.prepare.readers.walk import listed
from dfd.shards.rejects import Reject
from dfd.terminal import printable

_log = logging.getLogger(__name__)
_NEEDED = ("path", "label")
_KNOWN = {*_NEEDED, "label_str", "group", "groups", "split", "source", "method", "mask", "original"}


def mismatch(root: Path) -> str:
    """What this layout would have that `root` lacks; "" where it fits."""
    try:
        if _tables(root):
            return ""
        why = next((f"; {path.name} {why_unusable(path, _NEEDED)}" for path in _candidates(root)), "")
        return f"{root / 'samples.csv'} or .jsonl with the columns path and label{why}"
    except ValueError as error:
        return str(error)


def rows(root: Path, class_names: ClassNames = NO_NAMES) -> Iterator[Row | Reject]:
    """The lines of the one table in `root`, or of `root` itself where it is such a file.

    Raises:
        ValueError: no table, several, a missing or misspelt column, no line below the header, a cell over
            several lines, text that is not UTF-8, or other words for the classes.
    """
    tables = _tables(root)
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "none"
        raise ValueError(
            f"{root} needs one CSV or JSON Lines file with the columns path and label; found: {found}. Name "
            "the file itself."
        )
    return _checked_rows(tables[0], class_names)


def _tables(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return [path for path in _candidates(root) if not missing_columns(path, _NEEDED)]


def _candidates(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    files = (Path(entry.path) for entry in listed(root))
    return [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]


def _checked_rows(path: Path, class_names: ClassNames) -> Iterator[Row | Reject]:
    """The rows of a table; videos that name an original come last, when all that it lists are known.

    How labels that are numbers were read, and which columns were of no use, is printed at the end.
    """
    videos: dict[str, bool] = {}  # those listed, and whether they name an original themselves
    forged: list[Row] = []
    # columns that were looked at; JSON Lines may have others in each line
    seen: set[tuple[bool, tuple[str, ...]]] = set()
    unused: dict[str, None] = {}
    numbers: Counter[str] = Counter()  # labels that no word explains
    words: Counter[str] = Counter()
    litter: list[str] = []  # lines of what systems leave behind
    at = ""
    for at, line in read_lines(path, _NEEDED):
        if isinstance(line, str):
            yield Reject(at, line)
            continue
        if is_litter(_text(line.get("path")).replace("\\", "/")):
            litter.append(at)
            continue
        word = _label_word(line)
        words[word] += 1
        is_video = _is_video(_text(line.get("path")))
        if (columns := (is_video, tuple(line))) not in seen:
            _refuse_misspelt(path, line, is_video)
            seen.add(columns)
            unused.update({name: None for name in line if name and name not in _KNOWN})
        item = _row(line, at, class_names)
        if isinstance(item, Row) and word[:1].isdigit() and not (_text(line.get("label_str")) or class_names):
            numbers[f"{word} as {LABELS[item.label]}"] += 1
        if is_video:
            videos[posixpath.normpath(item.path)] = isinstance(item, Row) and item.original is not None
        elif _text(line.get("original")):
            unused["original (it is for videos)"] = None
        if isinstance(item, Row) and item.original:
            forged.append(item)
        else:
            yield item
    if not at:
        raise ValueError(
            f"{path} has no line below its header. Each line names a picture by its path and its label."
        )
    _refuse_strange(path, words, class_names)
    for row in forged:
        reason = _no_original(row.original, videos)
        yield Reject(row.path, reason) if reason else row
    if numbers:
        read = ", ".join(f"{label} ({count})" for label, count in sorted(numbers.items()))
        _log.info("%s: labels read: %s. If 1 is real there: --real 1 --fake 0.", path, read)
    if litter:
        _log.info(
            "%s: %d lines list what systems leave behind, such as ._a.jpg, first %s: passed over.",
            path,
            len(litter),
            litter[0],
        )
    if unused:
        grouped = any({"group", "groups"} & set(names) for _, names in seen)
        hint = (
            "" if grouped else " Name in a column group what belongs together, such as a person or a video."
        )
        _log.info("%s: columns that are not used: %s.%s", path, printable(", ".join(unused)), hint)


def _refuse_strange(path: Path, words: Counter[str], class_names: ClassNames) -> None:
    """Raises ValueError where no line names a class, and so many have another word that it is no slip."""
    classes = {class_names.of_word(word) for word in words} - {None}
    strange = Counter({word: words[word] for word in words if word and class_names.of_word(word) is None})
    if len(classes) == 2 or strange.total() <= MAX_REJECTED * words.total():
        return
    found = ", ".join(f"{word} ({count})" for word, count in words.most_common(6))
    way = which_is_which(filter(None, words), f"dfd prepare {shlex.quote(str(path))} --out OUT")
    raise ValueError(
        f"{path}: the column label holds {printable(found, keep='')}; read are real, fake, 0 (real), 1 "
        f"(fake) and what --real and --fake name. {way or 'Name each kind so'}."
    )


def _refuse_misspelt(path: Path, names: Iterable[str], is_video: bool) -> None:
    """Raises ValueError for a column that is a known one misspelt: without it, families would be divided or
    lose splits.
    """
    lacking = _KNOWN - set(names) - {"label_str"} - (set() if is_video else {"original"})
    if {"group", "groups"} & set(names):
        lacking -= {"group", "groups"}
    for name in names:
        if name and name not in _KNOWN and (known := meant(name, sorted(lacking))):
            raise ValueError(
                f"{path}: column {name}: did you mean {known}? Rename it; if it is something else, give it a "
                f"name less like {known} or take it out."
            )


def _no_original(original: str, videos: Mapping[str, bool]) -> str:
    """Why a video's original is unknown, so that its family would be guessed; "" where it is known."""
    if original not in videos:
        near = get_close_matches(original, videos, n=1)
        hint = f"; {near[0]} may be meant" if near else ""
        return (
            f"its original {original!r} is no video of the table{hint}. List it too, or leave original empty "
            "and name what belongs together in group"
        )
    return f"its original {original!r} names an original itself: name that one" if videos[original] else ""


def _row(line: Mapping[str, Any], at: str, class_names: ClassNames) -> Row | Reject:
    if not isinstance(line.get("path") or "", str):
        return Reject(at, f"path {line['path']!r:.80} is no text; needed is a file's path")
    path = _text(line.get("path"))
    if not path:
        return Reject(at, "no path")
    label = class_names.of_word(_label_word(line))
    if label is None:
        return Reject(path, f"label {line.get('label')!r} is none of real, fake, 0 (real), 1 (fake)")
    in_words = _text(line.get("label_str")).lower()  # 140K's tables have one: there 1 is real
    if in_words and class_names.of_word(in_words) != label:
        return Reject(
            path,
            f"label {line.get('label')!r} and label_str {in_words!r} contradict each other: 1 is fake here; "
            "if it is real there, --real 1 --fake 0",
        )
    split = _text(line.get("split")).lower()
    if split and split not in SPLIT_WORDS:
        meant = get_close_matches(split, SPLIT_WORDS, n=1)
        hint = f"; {meant[0]} may be meant" if meant else ""
        return Reject(path, f"split {line.get('split')!r} is none of train, val, test{hint}")
    groups = [group for name in ("groups", "group") for group in _listed(line.get(name))]
    row = Row(
        path=path,
        label=label,
        groups=tuple(sorted({_text(group) for group in groups} - {""})),
        split=SPLIT_WORDS.get(split),
        source=_text(line.get("source")),
        method=_text(line.get("method")),
        mask=_text(line.get("mask")) or None,
        original=_original(line, path),
    )
    fault = fault_of(row)
    return Reject(at, fault) if fault else row


def _label_word(line: Mapping[str, Any]) -> str:
    label = line.get("label")
    return str(label).lower() if isinstance(label, bool) else _text(label)


def _listed(groups: Any) -> list[Any]:
    return groups if isinstance(groups, list) else _text(groups).split(";")


def _original(line: Mapping[str, Any], path: str) -> str | None:
    """Only of a video, and not itself: tables of pictures have such columns with a meaning of their own."""
    original = _text(line.get("original"))
    if not original or not _is_video(path) or posixpath.normpath(original) == posixpath.normpath(path):
        return None
    return posixpath.normpath(original)


def _is_video(path: str) -> bool:
    return path.lower().endswith(tuple(VIDEO_SUFFIXES))


def _text(value: Any) -> str:
    """JSON's numbers as they would stand in a CSV; nothing for null."""
    if value is None or isinstance(value, (bool, dict, list, tuple)):
        return ""
    return str(value).strip()
