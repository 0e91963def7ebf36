"""Source: the folder or the table of pictures that `dfd prepare` reads, and its reader."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dfd.prepare.manifest import make_plan
from dfd.prepare.readers import BUILT_IN, Reject, Row, find_reader
from dfd.prepare.readers.class_names import NO_NAMES, ClassNames
from dfd.prepare.readers.listed_paths import why_missing, why_outside
from dfd.prepare.readers.walk import not_tried, passed_over
from dfd.prepare.stated_splits import one_class_stated, partly_stated, without_splits
from dfd.terminal import printable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """
    Args:
        path: folder, or CSV or JSON Lines file, as it was named; errors name it so. It is only ever read.
        reader: a built-in reader's name, or "package.module:function".
        class_names: what class folders or labels are called there, besides real and fake.
        folder: where the paths of a table, or of a reader of one's own, start; None takes that of `path`.
            No file outside of it is opened.

    Raises:
        ValueError: `folder` is none, or the reader finds its pictures by itself.
    """

    path: Path
    reader: str
    class_names: ClassNames = NO_NAMES
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        if self.reader != "table" and self.reader in BUILT_IN:
            raise ValueError(
                f"--root is for paths in a table, and {self.path} was read as {self.reader}. Leave it out, "
                "or name the table itself."
            )
        if not self.folder.is_dir():
            raise ValueError(
                f"--root {self.folder}: no such folder. It is the one that listed paths start at."
            )

    @property
    def root(self) -> str:
        """Real path of the folder that the rows' paths start at."""
        if self.folder is not None:
            return str(self.folder.resolve())
        real = self.path.resolve()
        return str(real.parent if self.path.is_file() else real)

    @property
    def _start(self) -> str:
        """Folder of the list where paths may start as well; "" where that is `root`."""
        if self.folder is None:
            return ""
        return str(self.path.parent.resolve() if self.path.is_file() else self.path.resolve())

    @property
    def name(self) -> str:
        """Data set of the rows that name none."""
        real = self.path.resolve()
        return printable(real.stem if self.path.is_file() else real.name, keep="")

    def facts(self) -> dict[str, Any]:
        """What index.json says of how the source was read, where it was told."""
        given = {"real": list(self.class_names.real), "fake": list(self.class_names.fake)}
        folder = {} if self.folder is None else {"root": self.root}
        return folder | ({"class_names": given} if self.class_names else {})

    def rows(self, videos: bool) -> Iterator[Row | Reject]:
        """What the reader finds; with `videos`, the videos of a layout that may hold their frames as well."""
        return find_reader(self.reader, videos=videos, class_names=self.class_names)(self.path)

    def plan(self, videos: bool) -> tuple[pa.Table, list[Reject]]:
        """The rows as a table (PLAN), and what cannot be used.

        Where folders name splits within one class alone, as COCO's train2017 among the reals, there are none.
        """
        table, rejects, copies = make_plan(
            self.rows(videos), source_name=self.name, folder=self.root, start=self._start
        )
        if copies:
            _log.warning(
                "%s: %d rows name a picture once more, with the same facts; it is taken once.",
                self.path,
                copies,
            )
        if told := partly_stated(table):
            if self.reader == "class_folders" and one_class_stated(table):
                table = without_splits(table)
                how = "taken as parts of another set, so that all families go by their hash"
            else:
                how = "the others go by the hash of their family"
            _log.warning(
                "%s: splits are stated for %s: %s. State them for all (folders train, val and test around "
                "both classes, or a column split) or for none.",
                self.path,
                told,
                how,
            )
        return table, rejects

    def why_missing(self, rejects: Sequence[Reject]) -> str:
        """Where the first file is that a table lists and its folder lacks, as a sentence; "" for none."""
        if self.reader in BUILT_IN and self.reader != "table":
            return ""
        for reject in rejects:
            if not os.path.lexists(os.path.join(self.root, reject.path)) and "No such file" in reject.reason:
                return why_missing(self.root, reject.path)
            if "out of the source folder" in reject.reason:
                return why_outside(self.root, reject.path)
        return ""

    def not_tried(self) -> str:
        """Files of the folder that the reader passed over, in words; "" for none.

        A table, or a reader of one's own, names what is wanted, so it passes over nothing.
        """
        walks = self.reader in BUILT_IN and self.reader != "table"
        return not_tried(list(passed_over(self.path))) if walks else ""
