"""Source: the folder or the table of pictures that `dfd prepare` reads, and its reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dfd.prepare.manifest import make_plan
from dfd.prepare.readers import BUILT_IN, Reject, Row, find_reader
from dfd.prepare.readers.walk import not_tried, passed_over


@dataclass(frozen=True)
class Source:
    """
    Args:
        path: folder, or CSV or JSON Lines file, as it was named; errors name it so. It is only ever read.
        reader: a built-in reader's name, or "package.module:function".
    """

    path: Path
    reader: str

    @property
    def root(self) -> str:
        """Real path of the folder that the rows' paths start at."""
        real = self.path.resolve()
        return str(real.parent if self.path.is_file() else real)

    @property
    def name(self) -> str:
        """Data set of the rows that name none."""
        real = self.path.resolve()
        return real.stem if self.path.is_file() else real.name

    def rows(self, videos: bool) -> Iterator[Row | Reject]:
        """What the reader finds; with `videos`, the videos of a layout that may hold their frames as well."""
        return find_reader(self.reader, videos=videos)(self.path)

    def plan(self, videos: bool) -> tuple[pa.Table, list[Reject]]:
        """The rows as a table (PLAN), and what cannot be used."""
        return make_plan(self.rows(videos), source_name=self.name)

    def not_tried(self) -> str:
        """Files of the folder that the reader passed over, in words; "" for none.

        A table, or a reader of one's own, names what is wanted, so it passes over nothing.
        """
        walks = self.reader in BUILT_IN and self.reader != "table"
        return not_tried(list(passed_over(self.path))) if walks else ""
