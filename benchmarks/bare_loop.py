"""The strongest bare-torch recipe that we know for 140K, as a peer for `dfd fit`: no framework, no dfd beyond
its import.

mobilenetv2_100 from ImageNet weights; native 128 px crops; half of the images are delivered (resized by .5-1,
half of those back; blurred; JPEG 40-95) before the crop; AdamW, cosine, head started small; the epoch is
chosen on valid by AUC.

    python benchmarks/bare_loop.py --data real-vs-fake --weights mobilenetv2_100.fp16.safetensors --seed 0
    --out bare0.pt
"""

import argparse
import ctypes
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

import dfd  # noqa: F401

import timm  # isort: skip  after dfd, which lets torchvision load beside CPU torch

SIZE = 128


def load(root: Path, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    files = [
        (file, label)
        for label, name in enumerate(("real", "fake"))
        for file in sorted((root / split / name).glob("*.jpg"))
    ]
    return [cv2.imread(str(file))[..., ::-1] for file, _ in files], np.array(
        [label for _, label in files], np.float32
    )


def deliver(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.integers(3)
    side = image.shape[0]
    if kind == 0:
        small = max(SIZE, round(side * rng.uniform(0.5, 1)))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    elif kind == 1:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5))
    else:
        quality = int(rng.integers(40, 96))
        image = cv2.imdecode(
            cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[
                1
            ],
            1,
        )[..., ::-1]
    return image


def train_crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        image = deliver(image, rng)
    y, x = (rng.integers(side - SIZE + 1) for side in image.shape[:2])
    image = image[y : y + SIZE, x : x + SIZE]
    return image[:, ::-1] if rng.random() < 0.5 else image


def five_crops(image: np.ndarray) -> list[np.ndarray]:
    h, w = (side - SIZE for side in image.shape[:2])
    return [image[y : y + SIZE, x : x + SIZE] for y, x in ((0, 0), (0, w), (h, 0), (h, w), (h // 2, w // 2))]


class Bare(torch.nn.Module):
    def __init__(self, weights: str | None):
        super().__init__()
        self.net = timm.create_model(
            "mobilenetv2_100",
            pretrained=weights is not None,
            pretrained_cfg_overlay={"file": weights},
            num_classes=1,
        )
        torch.nn.init.normal_(self.net.classifier.weight, std=0.01)
        torch.nn.init.zeros_(self.net.classifier.bias)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(self.net.pretrained_cfg[name]).view(1, 3, 1, 1))

    def forward(self, crops: list[np.ndarray]) -> torch.Tensor:
        image = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        return self.net((image - self.mean) / self.std).squeeze(1)


@torch.no_grad()
def eval_crops(net: Bare, images: list[np.ndarray]) -> np.ndarray:
    """Logits (N,), each the mean of five native crops."""
    net.eval()
    return np.concatenate(
        [
            net([crop for image in images[at : at + 12] for crop in five_crops(image)])
            .view(-1, 5)
            .mean(1)
            .numpy()
            for at in range(0, len(images), 12)
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    libc = ctypes.CDLL(None)
    # page faults are dear on small virtual machines
    (libc.mallopt(-4, 0), libc.mallopt(-1, 2**31 - 1), libc.mallopt(-2, 2**28))
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(0)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    images, labels = load(args.data, "train")
    val_images, val_labels = load(args.data, "valid")
    net = Bare(args.weights).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    steps = len(images) // 32 * args.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1, (s + 1) / 80) * 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    best, start = -1.0, time.time()
    for epoch in range(args.epochs):
        net.train()
        order = rng.permutation(len(images))
        for at in range(0, len(order) - 31, 32):
            rows = order[at : at + 32]
            logit = net([train_crop(images[row], rng) for row in rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.from_numpy(labels[rows]))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        auc = roc_auc_score(val_labels, eval_crops(net, val_images))
        if auc > best:
            best = auc
            torch.save(
                {"state_dict": net.state_dict(), "epoch": epoch, "val_auroc": auc, "seed": args.seed},
                args.out,
            )
        took = f"{time.time() - start:.0f} s, of CPU {time.process_time():.0f} s"
        print(f"epoch {epoch} loss {loss.item():.3f} val/auroc {auc:.4f} best {best:.4f} {took}", flush=True)


if __name__ == "__main__":
    main()
