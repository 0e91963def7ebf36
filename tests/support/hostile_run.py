"""What dfd does with a stranger's file, over many hostile ones, within the promised time and memory.

`python hostile_run.py SEED START COUNT [FOLDER]` prints a line of JSON for each of COUNT files that broke a promise,
and one when it is through. It is run in a process of its own, so that a crash ends nothing else.
"""

import faulthandler
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hostile_pictures import mutated, seeds, small_pictures
from peak_memory import Peak

from dfd.forensics import TOOLS, Tool, examine
from dfd.media.decode import image_info, read_picture
from dfd.media.exif import read_exif
from dfd.media.formats import Undecodable
from dfd.media.headers import jpeg_settings, picture_header
from dfd.media.structure import structure

_MOST_MEMORY = 8_000_000_000  # of the process: what asks for more gets a MemoryError instead of the machine
SECONDS, MEGABYTES = 0.5, 300  # of processor time and of further memory, for each thing done with a file
SMALL = 50_000  # pixels up to which that holds for each tool; of larger ones tools look at every pixel
SECONDS_A_MEGAPIXEL = 3.0
_TIME = "of processor time"
# so rarely tools of pixels run on larger ones, or ten thousand files would take half an hour
_LARGE_EVERY = 150


def _tried(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> None:
        with suppress(Undecodable):
            read(data)

    return run


def _examined(tools: Sequence[Tool]) -> Callable[[bytes], object]:
    def run(data: bytes) -> None:
        failed = [each for each in examine(data, tools).findings if each.status == "failed"]
        if failed:
            raise AssertionError("; ".join(f"{each.tool}: {each.facts['why']}" for each in failed))

    return run


# what is refused is refused as Undecodable
READERS = {
    "read_picture": _tried(read_picture),
    "image_info": _tried(image_info),
    "structure": structure,
    "read_exif": read_exif,
    "picture_header": picture_header,
    "jpeg_settings": jpeg_settings,
}


def problems(data: bytes, peak: Peak, tools_of_pixels: bool = True) -> Iterator[tuple[str, str]]:
    """What is done, and which promise it breaks.

    Args:
        tools_of_pixels: run on a large picture too, where they take longer in proportion.
    """
    for name, run in READERS.items():
        yield from ((name, problem) for problem in _broken(run, data, peak, SECONDS))
    header = picture_header(data)
    pixels = 0 if header is None else header.width * header.height
    tools = [tool for tool in TOOLS if tool.takes == "file" or tools_of_pixels or pixels <= SMALL]
    seconds = SECONDS if pixels <= SMALL else SECONDS + SECONDS_A_MEGAPIXEL * pixels / 1e6
    if together := _broken(_examined(tools), data, peak, seconds):
        alone = [
            (tool.name, each) for tool in tools for each in _broken(_examined([tool]), data, peak, seconds)
        ]
        # times of tools that each keep theirs add up
        yield from alone or (("all tools together", each) for each in together if _TIME not in each)


def main(seed: int, start: int, count: int, folder: Path | None) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    warnings.simplefilter("ignore")
    files = seeds(folder)
    peak = Peak()
    for data in small_pictures().values():  # what is imported and warmed up once is no cost of a file
        list(problems(data, peak))
    for number in range(start, start + count):
        print(json.dumps({"at": number}), flush=True)
        how, data = mutated(seed, number, files)
        for done, problem in problems(data, peak, number % _LARGE_EVERY == 0):
            print(json.dumps({"file": number, "how": how, "done": done, "problem": problem}), flush=True)
    print(json.dumps({"through": count}), flush=True)


def _broken(run: Callable[[bytes], object], data: bytes, peak: Peak, limit: float) -> list[str]:
    peak.begin()
    begin = time.process_time()
    try:
        run(data)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"[:300]]
    seconds, megabytes = time.process_time() - begin, peak.megabytes()
    found = [f"{seconds:.2f} s {_TIME}"] if seconds > limit else []
    return found + ([f"{megabytes:.0f} MB of memory"] if megabytes > MEGABYTES else [])


if __name__ == "__main__":
    seed, start, count = map(int, sys.argv[1:4])
    main(seed, start, count, Path(sys.argv[4]) if len(sys.argv) > 4 else None)
