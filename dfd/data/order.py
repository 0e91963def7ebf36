"""Order of an epoch, a pure function of (seed, epoch): of all rows, or a window of shards at a time."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

_CHUNK = 1 << 20  # rows at a time


class Windows:
    """The rows that an epoch shows, a pure function of (seed, epoch): shards are permuted and cut into
    windows of `window` shards, rows are permuted within a window.

    A root of weight w shows floor(w) times each of its rows, and round((w - floor(w)) * its rows) of them
    once more, spread over its shards by their size; which, each epoch draws for itself.

    Args:
        rows: (R,) rows of the training split.
        shard, root: (R,) shard and root of each of `rows`; a shard belongs to one root.
        weights: one weight a root.
        window: shards, at least one.
    """

    def __init__(
        self,
        rows: np.ndarray,
        shard: np.ndarray,
        root: np.ndarray,
        weights: Sequence[float],
        seed: int,
        window: int,
    ):
        if not (shard[1:] >= shard[:-1]).all():  # as tables have it that were put together by hand
            by_shard = np.argsort(shard, kind="stable")
            rows, shard, root = rows[by_shard], shard[by_shard], root[by_shard]
        self.seed, self.window = seed, window
        first = np.flatnonzero(np.r_[True, shard[1:] != shard[:-1]])
        self._lay_out(rows, shard[first], np.diff(first, append=len(rows)), root[first], weights)

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
        """The same of rows that lie in the order of their shards.

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
        root: np.ndarray,
        weights: Sequence[float],
    ) -> None:
        self._rows, self._number, self._size, self._root = rows, numbers, sizes, root
        self._end = sizes.cumsum()
        self._begin = self._end - sizes
        self._whole = np.array([int(weight) for weight in weights])
        held = np.bincount(self._root, self._size, minlength=len(weights)).astype(np.int64)
        self._extra = np.array([round((w - int(w)) * n) for w, n in zip(weights, held.tolist(), strict=True)])
        self._held = held
        self.num_rows = int((self._whole * held + self._extra).sum())

    def __call__(self, epoch: int) -> "EpochOrder":
        return EpochOrder(self, epoch)

    def shards(self, epoch: int) -> list[np.ndarray]:
        """The numbers of the shards of each window, in the order of the windows."""
        return [self._number[window] for window in self._cut(self._turns(epoch))]

    def _turns(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self._number))

    def _cut(self, turns: np.ndarray) -> list[np.ndarray]:
        return np.split(turns, np.arange(self.window, len(turns), self.window))

    def plan(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Positions of the shards of each window; of each shard, how many rows are shown once more; rows a
        window.
        """
        turns = self._turns(epoch)
        extra = np.empty(len(turns), np.int64)
        for root, (more, held) in enumerate(zip(self._extra.tolist(), self._held.tolist(), strict=True)):
            mine = turns[self._root[turns] == root]
            extra[mine] = np.diff(self._size[mine].cumsum() * more // max(held, 1), prepend=0)
        shown = self._whole[self._root] * self._size + extra
        windows = self._cut(turns)
        return windows, extra, np.array([shown[window].sum() for window in windows])

    def draw(self, epoch: int, at: int, shards: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """The rows of window `at`, permuted."""
        # (seed, epoch, 0) would be (seed, epoch) again
        rng = np.random.default_rng((self.seed, epoch, 1 + at))
        picks = []
        for shard in shards:
            rows = self._rows[self._begin[shard] : self._end[shard]]
            picks.append(np.tile(rows, self._whole[self._root[shard]]))
            if extra[shard]:
                picks.append(rng.permutation(rows)[: extra[shard]])
        return rng.permutation(np.concatenate(picks))


class EpochOrder:
    """The rows of one epoch; a slice is an array (N,) of them. Windows are drawn as they are asked for, and
    two are held.
    """

    def __init__(self, windows: Windows, epoch: int):
        self._windows, self._epoch = windows, epoch
        self._shards, self._extra, counts = windows.plan(epoch)
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
            self._drawn[at] = self._windows.draw(self._epoch, at, self._shards[at], self._extra)
        return self._drawn[at]


class Shuffled:
    """The rows that an epoch shows, all permuted together: a pure function of (seed, epoch).

    A root of weight w gives floor(w) whole permutations of itself and a random fraction w - floor(w) of one
    more.

    Args:
        rows: (R,) rows of the training split.
        members: of each root, its positions in `rows`: an array, or where they follow one another a range.
        weights: one weight a root.
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
