"""What a model costs: parameters, operations a picture, pictures a second, and what its training took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dfd import run_record
from dfd.detector import Detector

ROUNDS = 3  # of timing; the best is taken, as whatever disturbs a round makes it slower


@dataclass(frozen=True)
class ModelCost:
    parameters: int
    flops: int  # of all crops of one picture, without FFTs; a multiply-add counts as two, as torch counts
    images_per_second: float  # through the net, without decoding
    device: str
    seconds: float | None  # of training, over all its starts
    joules: float | None


def model_cost(detector: Detector, run: Path | None, batch_size: int = 32) -> ModelCost:
    """Of one detector, judging whole pictures on its device.

    Args:
        run: folder of the fit that trained it, which knows time and energy; None where it is not there.
        batch_size: pictures that are judged at once.
    """
    record = None if run is None else run_record.read(run)
    crops = detector.view.eval_crops(_picture(detector))
    # of other ways to attend the counter sees nothing on a processor
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        detector.logits([crops])
    return ModelCost(
        parameters=sum(weight.numel() for weight in detector.net.parameters()),
        flops=counter.get_total_flops(),
        images_per_second=_speed(detector, crops, batch_size),
        device=_device_name(detector.device),
        seconds=record.seconds if record is not None and record.seconds else None,
        joules=None if record is None else record.joules,
    )


def _picture(detector: Detector) -> np.ndarray:
    side = max(max(part.size, part.longest or part.size) for part in detector.view.parts)
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def _speed(detector: Detector, crops: np.ndarray, batch_size: int) -> float:
    image = torch.from_numpy(np.stack([crops] * batch_size)).to(detector.device)
    times = []
    with torch.inference_mode():
        detector.batch_logits(image)  # what is made ready once is no cost of a picture
        for _ in range(ROUNDS):
            start = time.perf_counter()
            detector.batch_logits(image).cpu()
            times.append(time.perf_counter() - start)
    return batch_size / min(times)


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
