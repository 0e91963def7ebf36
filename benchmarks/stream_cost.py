"""What a frequency stream adds to a training step: two-stream nets over the RGB stream alone, at 224 px.

All nets train on the same random pictures in a bare loop, step by step in turn, so that other programs on the
machine slow all of them alike; the ratio is the median over rounds of a net's step to that of the RGB stream
in the same round. On a CPU the target is held against CPU time, which other programs on the machine move
less than wall time.

    python benchmarks/stream_cost.py
    python benchmarks/stream_cost.py --size 128 --streams log local srm --fusions concat gate cross
"""

import argparse
import time

import numpy as np
from rich.console import Console
from rich.table import Table
from streams import FUSIONS, STREAMS, streams

from dfd.malloc import keep_pages
from dfd.models import DualStream, SingleStream, TimmBackbone, build

# after dfd, which lets torchvision load beside CPU torch
import torch  # isort: skip
from torch.nn.functional import binary_cross_entropy_with_logits  # isort: skip

TARGET = 1.15
ALONE = "rgb alone"
SKIP = 2  # rounds before the clock counts: the allocator settles


class Trained:
    """A net in a bare loop: no loading, no logging, no schedule."""

    def __init__(self, net: torch.nn.Module, image: torch.Tensor, label: torch.Tensor):
        self.net, self.image, self.label = net.to(memory_format=torch.channels_last).train(), image, label
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)

    def step(self) -> tuple[float, float]:
        """Wall and CPU seconds of one step."""
        start = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        binary_cross_entropy_with_logits(self.net(self.image), self.label).backward()
        self.optimizer.step()
        if self.image.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start[0], time.process_time() - start[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="mobilenetv2_100", help="timm's name of the RGB stream")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS))
    parser.add_argument("--fusions", nargs="+", choices=FUSIONS, default=["concat"])
    parser.add_argument("--width", type=int, default=32, help="of the small CNNs that read the maps")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=12, help=f"the first {SKIP} without the clock")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    keep_pages()  # `dfd fit` does
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    image = torch.rand(args.batch, 3, args.size, args.size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    label = torch.arange(args.batch, device=device).remainder(2).float()
    nets = {ALONE: SingleStream(TimmBackbone(args.backbone))}
    for name in args.streams:
        for fusion in args.fusions:
            spectrum, backbone = (build(each) for each in streams(args.width)[name])
            nets[f"{name}, {fusion}"] = DualStream(
                TimmBackbone(args.backbone), backbone, spectrum, build(FUSIONS[fusion])
            )
    trained = {name: Trained(net.to(device), image, label) for name, net in nets.items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in trained}
    for _ in range(args.rounds):
        for name, each in trained.items():
            seconds[name].append(each.step())
    page = Table("net", "ms an image", "of RGB alone", "lowest-highest", "CPU, of RGB alone", "target")
    alone = np.array(seconds[ALONE])[SKIP:]
    for name, times in seconds.items():
        ours = np.array(times)[SKIP:]
        ratios = ours / alone
        ratio, cpu = np.median(ratios, axis=0)
        held = cpu if device.type == "cpu" else ratio
        met = f"{TARGET} {'met' if held <= TARGET else 'MISSED'}" if name != ALONE else ""
        page.add_row(
            name,
            f"{1000 * np.median(ours[:, 0]) / args.batch:.1f}",
            f"{ratio:.3f}",
            f"{ratios[:, 0].min():.3f}-{ratios[:, 0].max():.3f}",
            f"{cpu:.3f}",
            met,
        )
    what = f"{args.backbone} at {args.size} px, CNNs of width {args.width}, batches of {args.batch}, {args.threads} threads on {device}"
    Console(width=120).print(what, page)


if __name__ == "__main__":
    main()
