"""Order of an epoch, a pure function of (seed, epoch): of all rows, or a window of shards at a time."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

_CHUNK = 1 << 20  # rows at a time


class Windows:
    """The rows that an epoch shows, a pure function of (seed, epoch): shards are permuted and cut into
    windows of `window` shards, rows are permuted within a window.

    A stratum of weight w shows floor(w) times each of its rows, and round((w - floor(w)) * its rows) of them
    once more, spread over its shards by their size; which, each epoch draws for itself.

    Args:
        rows: (R,) rows of the training split.
        shard, stratum: (R,) shard and stratum of each of `rows`: root, or what `data.balance` tells apart.
        weights: one weight a stratum.
        window: shards, at least one.
    """

    def __init__(
        self,
        rows: np.ndarray,
        shard: np.ndarray,
        stratum: np.ndarray,
        weights: Sequence[float],
        seed: int,
        window: int,
    ):
        order = np.lexsort((stratum, shard))  # stable, and the identity where each shard is of one stratum
        rows, shard, stratum = rows[order], shard[order], stratum[order]
        self.seed, self.window = seed, window
        first = np.flatnonzero(np.r_[True, (shard[1:] != shard[:-1]) | (stratum[1:] != stratum[:-1])])
        self._lay_out(rows, shard[first], np.diff(first, append=len(rows)), stratum[first], weights)

    @classmethod
    def of_shards(
        cls,
        rows: np.ndarray,
        numbers: np.ndarray,
        sizes: np.ndarray,
        root: np.ndarray,
        weights: Sequence[float],
        seed: int,
        window: int,
    ) -> "Windows":
        """The same of rows that lie in the order of their shards, each of which is of one stratum, its root.

        Args:
            numbers, sizes, root: of each shard, (S,): its number, how many of `rows` lie in it, and its root.
        """
        windows = cls.__new__(cls)
        windows.seed, windows.window = seed, window
        windows._lay_out(rows, numbers, sizes, root, weights)
        return windows

    def _lay_out(
        self,
        rows: np.ndarray,
        numbers: np.ndarray,
        sizes: np.ndarray,
        stratum: np.ndarray,
        weights: Sequence[float],
    ) -> None:
        """Of each piece, which is what a shard has of one stratum: number of the shard, size, stratum."""
        self._rows, self._size, self._stratum = rows, sizes, stratum
        self._end = sizes.cumsum()
        self._begin = self._end - sizes
        first = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
        self._number = numbers[first]  # of each shard
        self._pieces = np.split(np.arange(len(numbers)), first[1:])
        self._whole = np.array([int(weight) for weight in weights])
        held = np.bincount(self._stratum, self._size, minlength=len(weights)).astype(np.int64)
        self._extra = np.array([round((w - int(w)) * n) for w, n in zip(weights, held.tolist(), strict=True)])
        self._held = held
        self.num_rows = int((self._whole * held + self._extra).sum())

    def __call__(self, epoch: int) -> "EpochOrder":
        return EpochOrder(self, epoch)

    def shards(self, epoch: int) -> list[np.ndarray]:
        """The numbers of the shards of each window, in the order of the windows."""
        return [self._number[window] for window in self._cut(epoch)]

    def _cut(self, epoch: int) -> list[np.ndarray]:
        turns = np.random.default_rng((self.seed, epoch)).permutation(len(self._number))
        return np.split(turns, np.arange(self.window, len(turns), self.window))

    def plan(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """The pieces of each window; of each piece, how many rows are shown once more; rows a window."""
        windows = [np.concatenate([self._pieces[shard] for shard in window]) for window in self._cut(epoch)]
        turns = np.concatenate(windows)
        extra = np.empty(len(turns), np.int64)
        for stratum, (more, held) in enumerate(zip(self._extra.tolist(), self._held.tolist(), strict=True)):
            mine = turns[self._stratum[turns] == stratum]
            extra[mine] = np.diff(self._size[mine].cumsum() * more // max(held, 1), prepend=0)
        shown = self._whole[self._stratum] * self._size + extra
        return windows, extra, np.array([shown[window].sum() for window in windows])

    def draw(self, epoch: int, at: int, pieces: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """The rows of window `at`, permuted."""
        # (seed, epoch, 0) would be (seed, epoch) again
        rng = np.random.default_rng((self.seed, epoch, 1 + at))
        picks = []
        for piece in pieces:
            rows = self._rows[self._begin[piece] : self._end[piece]]
            picks.append(np.tile(rows, self._whole[self._stratum[piece]]))
            if extra[piece]:
                picks.append(rng.permutation(rows)[: extra[piece]])
        return rng.permutation(np.concatenate(picks))


class EpochOrder:
    """The rows of one epoch; a slice is an array (N,) of them. Windows are drawn as they are asked for, and
    two are held.
    """

    def __init__(self, windows: Windows, epoch: int):
        self._windows, self._epoch = windows, epoch
        self._pieces, self._extra, counts = windows.plan(epoch)
        self._ends = counts.cumsum()
        self._drawn: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, at: slice) -> np.ndarray:
        start, stop, _ = at.indices(len(self))
        if stop <= start:
            return np.empty(0, np.int64)
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right")
        rows = np.concatenate([self._window(each) for each in range(first, last + 1)])
        before = int(self._ends[first - 1]) if first else 0
        return rows[start - before : stop - before]

    def _window(self, at: int) -> np.ndarray:
        if at not in self._drawn:
            self._drawn = {known: rows for known, rows in self._drawn.items() if known == at - 1}
            self._drawn[at] = self._windows.draw(self._epoch, at, self._pieces[at], self._extra)
        return self._drawn[at]


class Shuffled:
    """The rows that an epoch shows, all permuted together: a pure function of (seed, epoch).

    A stratum (a root, or what `data.balance` makes) of weight w gives floor(w) whole permutations of itself
    and a random fraction w - floor(w) of one more.

    Args:
        rows: (R,) rows of the training split.
        members: of each stratum, its positions in `rows`: an array, or where they follow one another a range.
        weights: one weight a stratum.
        share: makes an order or finds it made: (epoch, length, what fills it) -> (length,).
    """

    def __init__(
        self,
        rows: np.ndarray,
        members: Sequence[np.ndarray | range],
        weights: Sequence[float],
        seed: int,
        share: Callable[[int, int, Callable[[np.ndarray], None]], np.ndarray] | None = None,
    ):
        self._rows, self._members, self._weights, self.seed = rows, members, weights, seed
        self._share = share
        self._extra = [round((w - int(w)) * len(mine)) for w, mine in zip(weights, members, strict=True)]
        whole = sum(int(w) * len(mine) for w, mine in zip(weights, members, strict=True))
        self.num_rows = whole + sum(self._extra)

    def __call__(self, epoch: int) -> np.ndarray:
        if self._share is not None:
            return self._share(epoch, self.num_rows, lambda order: self.fill(order, epoch))
        order = np.empty(self.num_rows, self._rows.dtype)
        self.fill(order, epoch)
        return order

    def fill(self, order: np.ndarray, epoch: int) -> None:
        """Writes the rows of an epoch, in order, into an array of `num_rows`."""
        rng = np.random.default_rng((self.seed, epoch))
        at = 0
        for members, weight, extra in zip(self._members, self._weights, self._extra, strict=True):
            for _ in range(int(weight)):
                for start in range(0, len(members), _CHUNK):
                    some = _as_array(members[start : start + _CHUNK], order.dtype)
                    order[at : at + len(some)] = some
                    at += len(some)
            # the order of the draw must not depend on how the table was sorted in memory, only on the rows;
            # where none is kept it is drawn too, as what is drawn next depends on it: in one place of memory
            drawn = (
                _as_array(members, order.dtype)
                if extra
                else as_strided(np.zeros(1, np.int64), (len(members),), (0,))
            )
            rng.shuffle(drawn)
            order[at : at + extra] = drawn[:extra]
            at += extra
            del drawn
        rng.shuffle(order)
        for start in range(0, len(order), _CHUNK):
            order[start : start + _CHUNK] = self._rows[order[start : start + _CHUNK]]


def _as_array(members: np.ndarray | range, dtype: np.dtype) -> np.ndarray:
    """A copy."""
    if isinstance(members, range):
        return np.arange(members.start, members.stop, dtype=dtype)
    return members.astype(dtype)


def epoch_order(
    rows: np.ndarray,
    root: np.ndarray,
    weights: Sequence[float],
    seed: int,
    epoch: int,
) -> np.ndarray:
    """The rows that one epoch shows, in order, as `Shuffled` has them.

    Args:
        rows: (R,) rows of the training split.
        root: (R,) root of each of `rows`.
        weights: one weight a root.
    """
    members = [np.flatnonzero(root == index) for index in range(len(weights))]
    return Shuffled(rows, members, weights, seed)(epoch)
