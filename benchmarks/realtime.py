"""Is real time feasible here: latency and images a second of `dfd watch`, by net, frame size and device.

Makes a clip of 25 frames a second in which the faces of some pictures move, and on one core, in turns within
one run: judges its frames as fast as it can, and watches it at its own speed, as a camera would give it, with
reading and decoding on the same core.

    python benchmarks/realtime.py best.ckpt best.onnx small.onnx --pictures a.jpg b.jpg --faces yunet.onnx
    python benchmarks/realtime.py best.ckpt --pictures a.jpg --devices cpu cuda

Where other programs share the core, trust the images of a second of CPU time; latency and dropped frames are
those of a busy machine then.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

RATE = 25
FRAMES = 15  # judged as fast as possible, a turn


def make_clip(path: Path, pictures: list[np.ndarray], size: tuple[int, int], seconds: float) -> None:
    """Pictures that move slowly to the right over gray, each at most two thirds of the frame's height."""
    import av
    import cv2

    width, height = size
    side = min(height * 2 // 3, width // len(pictures))
    tiles = [cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in pictures]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * RATE)):
            image = np.full((height, width, 3), 110, np.uint8)
            for place, tile in enumerate(tiles):
                room = width // len(tiles)
                left = place * room + min(number, room - side)
                image[height // 6 : height // 6 + side, left : left + side] = tile
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())


class Run:
    """What was measured of a detector on a clip, a number a turn.

    Attributes:
        per_cpu_second: images of a second of CPU time, all steps behind decoding, as fast as it can.
        finding, judging: ms of CPU time a frame, for finding faces and for cropping and the net.
        latency: ms, all of them, played at its own speed.
        judged, dropped: frames then.
    """

    def __init__(self) -> None:
        self.per_cpu_second: list[float] = []
        self.finding: list[float] = []
        self.judging: list[float] = []
        self.latency: list[float] = []
        self.judged = self.dropped = 0
        self.seconds = 0.0


def measure(detector, clip: Path, run: Run) -> None:
    from dfd.inference.frame_queue import FrameQueue
    from dfd.inference.frame_source import find_source, start_reading
    from dfd.inference.watched_faces import WatchedFaces
    from dfd.media.video import frames_at

    with clip.open("rb") as file:
        frames = [pixels for _, pixels in frames_at(file, range(FRAMES))]
    start = time.process_time()
    for pixels in frames:
        detector.faces.find(pixels)
    finding = time.process_time() - start
    start = time.process_time()
    for pixels in frames:
        detector.score(pixels)
    whole = time.process_time() - start
    run.per_cpu_second.append(FRAMES / whole)
    run.finding.append(1000 * finding / FRAMES)
    run.judging.append(1000 * (whole - finding) / FRAMES)

    queue, faces = FrameQueue(2), WatchedFaces(detector, 1.0)
    thread = start_reading(find_source(str(clip)), queue, threading.Event())
    start = time.monotonic()
    while not queue.finished:
        frame = queue.get(0.1)
        if frame is not None:
            faces.see(frame)
            run.latency.append(1000 * (time.monotonic() - frame.arrived))
            run.judged += 1
    run.seconds += time.monotonic() - start
    thread.join()
    assert not queue.fault and queue.error is None, queue.fault
    run.dropped += queue.dropped


def over_turns(values: list[float]) -> str:
    """Median with the lowest and the highest."""
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "detectors", type=Path, nargs="+", help="checkpoints and exports; the first is the yardstick"
    )
    parser.add_argument(
        "--pictures", type=Path, nargs="+", required=True, help="of one face each, side by side"
    )
    parser.add_argument("--faces", type=Path, help="YuNet's .onnx file; by default as for dfd score")
    parser.add_argument("--sizes", nargs="+", default=["640x360", "1280x720", "1920x1080"])
    parser.add_argument(
        "--devices", nargs="+", default=["cpu"], help="of the checkpoints; exports run on cpu"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the clip")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import cv2

    import dfd
    from dfd.media.decode import decode

    cv2.setNumThreads(1)
    detectors = {}
    for path in args.detectors:
        if path.suffix != ".onnx":
            import torch

            torch.set_num_threads(1)
        for device in args.devices if path.suffix != ".onnx" else ["cpu"]:
            detectors[path.name, device] = dfd.load(path, faces=args.faces, device=device)
    pictures = [decode(path.read_bytes()) for path in args.pictures]
    runs: dict[tuple[str, str, str], Run] = defaultdict(Run)
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            clip = Path(folder, f"{size}.mp4")
            make_clip(clip, pictures, tuple(map(int, size.split("x"))), args.seconds)
            for turn in range(args.rounds + 1):
                for (name, device), detector in detectors.items():
                    # the first turn warms everything up
                    measure(detector, clip, runs[size, name, device] if turn else Run())
    first = next(iter(detectors))
    print(
        "| frame | detector | net sees | device | images a CPU second | of the first's | faces, net (ms) | latency p50, p99 (ms) | images/s at 25 | dropped |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (size, name, device), run in runs.items():
        beside = zip(run.per_cpu_second, runs[size, *first].per_cpu_second, strict=True)
        crops, side, _ = detectors[name, device].view.shape
        cells = [
            size,
            name,
            f"{crops} x {side} px",
            device,
            over_turns(run.per_cpu_second),
            over_turns([value / other for value, other in beside]),
            f"{statistics.median(run.finding):.0f}, {statistics.median(run.judging):.0f}",
            "{:.0f}, {:.0f}".format(*np.quantile(run.latency, (0.5, 0.99))),
            f"{run.judged / run.seconds:.1f}",
            f"{run.dropped / (run.dropped + run.judged):.0%}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
