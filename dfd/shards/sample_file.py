"""samples.parquet read piece by piece: what many processes cannot each hold is looked up in the file."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfd.shards.format import SCHEMA
from dfd.shards.pattern import pick_rows
from dfd.shards.validate import check_file, check_lines

# columns that no loader uses
UNREAD = {"mask_offset", "mask_length", "groups", "width", "height", "format", "phash"}
READ = [name for name in SCHEMA.names if name not in UNREAD]
# of each sample a number or two
NUMBERS = ["shard", "offset", "length", "label", "split"]
_WORDS = ["source", "method"]  # few different ones


class SampleFile:
    """The lines of a samples.parquet, or those that lie in some shards.

    It is read as it was when it was opened, by forked processes too: each piece from its place in the file.

    Args:
        index: index.json of the folder.
        names: of the shards whose lines count; None means all.

    Raises:
        ValueError: it is not as dfd writes it.
        OSError, pa.ArrowException: it cannot be read.
    """

    def __init__(self, path: Path, index: Mapping[str, Any], names: list[str] | None):
        check_file(path, index)
        self.path, self.index, self.names = path, index, names
        self._file = pq.ParquetFile(pa.OSFile(str(path)), pre_buffer=False)
        facts = path.stat()
        # what tells this file from another one at its place
        self.version = [str(path.absolute()), facts.st_ino, facts.st_size, facts.st_mtime_ns, names]
        self.version += [[shard["name"], shard["bytes"]] for shard in index["shards"]]
        facts = self._file.metadata
        sizes = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
        self._ends = np.cumsum([0, *sizes])  # of the pieces, in lines
        self.num_lines = facts.num_rows

    def pieces(self) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """The numbers (NUMBERS) of the samples, some at a time, with their lines (N,) in the file, checked.

        Raises:
            ValueError: a line that is not as dfd writes it.
        """
        self._check_filled([name for name in READ if name not in (*NUMBERS, *_WORDS)])
        for group, start in enumerate(self._ends[:-1].tolist()):
            piece = self._file.read_row_group(group, NUMBERS + _WORDS)
            try:
                check_lines(piece, self.index)
            except (ValueError, KeyError):
                check_lines(self._read(group, READ), self.index)  # says which key
                raise
            lines = np.arange(start, start + len(piece))
            if self.names is not None:
                lines = lines[
                    pc.is_in(piece["shard"], value_set=pa.array(self.names, pa.string())).to_numpy()
                ]
                piece = pick_rows(piece, self.names)
            yield lines, piece.select(NUMBERS)

    def count(self) -> int:
        """How many samples there are."""
        if self.names is None:
            return self.num_lines
        names = pa.array(self.names, pa.string())
        groups = (self._read(group, ["shard"])["shard"] for group in range(len(self._ends) - 1))
        return sum(pc.sum(pc.is_in(column, value_set=names)).as_py() or 0 for column in groups)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All lines, checked; of a pattern, those of its shards.

        Args:
            columns: the ones to read, shard, offset and length among them; None reads all.
        """
        table = self._file.read(list(columns or SCHEMA.names))
        check_lines(table, self.index)
        return table if self.names is None else pick_rows(table, self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleFile, (self.path, self.index, self.names)  # a spawned worker opens it anew

    def take(self, lines: np.ndarray, columns: list[str]) -> pa.Table:
        """These lines (N,), in their order; only the pieces that hold them are read."""
        order = np.argsort(lines, kind="stable")
        cuts = np.searchsorted(lines[order], self._ends)
        found = [self._file.schema_arrow.empty_table().select(columns)]
        for group, (start, stop) in enumerate(pairwise(cuts)):
            if start < stop:
                found.append(self._read(group, columns).take(lines[order[start:stop]] - self._ends[group]))
        back = np.empty(len(lines), np.int64)
        back[order] = np.arange(len(lines))
        return pa.concat_tables(found).take(back)

    def _read(self, group: int, columns: list[str]) -> pa.Table:
        # a loader process that was forked has no use for threads
        return self._file.read_row_group(group, columns, use_threads=False)

    def _check_filled(self, columns: list[str]) -> None:
        """Raises ValueError where a column has empty cells or the wrong type: by what the file says of itself
        where it does.
        """
        facts, schema = self._file.metadata, self._file.schema_arrow
        for name in columns:
            if schema.field(name).type != SCHEMA.field(name).type:
                raise ValueError(
                    f"the column {name} is {schema.field(name).type}, not {SCHEMA.field(name).type}"
                )
            at = next(at for at in range(facts.num_columns) if facts.schema.column(at).path == name)
            for group in range(facts.num_row_groups):
                known = facts.row_group(group).column(at).statistics
                counted = known is not None and known.has_null_count
                if known.null_count if counted else self._read(group, [name])[name].null_count:
                    raise ValueError(f"the column {name} has empty cells")
