"""Progress of a long piece of work: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dfd.terminal import commanding, is_terminal

_EVERY = 10.0  # seconds between lines


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Yields `advance(count)`; writes to stderr."""
    if is_terminal(sys.stderr):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=commanding(sys.stderr))) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)
        return
    done, start = 0, time.monotonic()
    last = start

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= _EVERY:
            last = now
            print(f"{what}: {done} of {total}{_pace(done, total, now - start)}", file=sys.stderr, flush=True)

    yield advance


def _pace(done: int, total: int, seconds: float) -> str:
    """How fast it goes, and where that is slow how long it will take."""
    if done >= seconds:
        return f", {done / seconds:.0f}/s"
    if not done:
        return ""
    each = seconds / done
    left = each * (total - done)
    return f", {each:.1f} s each, about {f'{left:.0f} s' if left < 100 else f'{left / 60:.0f} min'} left"
