# %% [markdown]
# # 2. Training a detector, from Python
#
# A net of dfd is plain torch, and a task is a Lightning module, so Lightning's own Trainer does the work.
# This notebook
#
# 1. looks at what the net will be shown,
# 2. trains a small net of two streams, pixels and frequencies,
# 3. judges it on families that it has not seen, and says how sure that is,
# 4. kills the run in the middle, in effect, resumes it, and compares the weights bit by bit,
# 5. takes the checkpoint as one file and asks it for a verdict.
#
# By default it trains on the embedded toy set: drawings, not photographs. What the numbers below say about
# deepfakes in the world is: nothing. What they say about the way of working holds for any set. For your own
# pictures set `DATA` to a folder that `dfd prepare PICTURES --out SHARDS` made, take more epochs and a
# larger net. A run of hours is better started by `dfd fit`, which adds run folders and resume after a
# signal.

# %%
import warnings

import matplotlib

import dfd  # before Lightning: it prepares the import of torchvision

# %matplotlib inline
matplotlib.rcParams["figure.dpi"] = 72
warnings.filterwarnings("ignore", module="lightning")  # its hints, about Slurm and the like
warnings.filterwarnings("ignore", message="IProgress not found")  # there are no progress bars here

# %%
import logging
import os
import tempfile
from functools import partial
from pathlib import Path

import lightning
import numpy as np
import torch
from IPython.display import display
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from dfd.augment import Augment
from dfd.batch import LABELS
from dfd.callbacks import StepSeed
from dfd.data import ShardDataModule, ToyDataModule, View
from dfd.metrics import by_method, detection_metrics, interval
from dfd.models import DualStream, LocalSpectrum, SmallCNN
from dfd.plots import Figure, image_grid, reliability, roc
from dfd.shards.table import load_table, read_bytes
from dfd.tasks import ClassificationTask

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

DATA = os.environ.get("DFD_NOTEBOOK_DATA")  # finished shards; None: the toy set
WORK = Path(tempfile.mkdtemp(prefix="dfd-"))  # whatever this notebook writes; name a folder to keep it
EPOCHS = 6

# %% [markdown]
# ## What the net is shown
#
# A `View` says how a picture becomes what the net sees: here the central 64 pixels, in the picture's own
# resolution. Scaling would destroy the traces that a generator leaves. The view is stored in the
# checkpoint, so that a photo is later cut as the training pictures were.
#
# `Augment` mirrors pictures and changes their brightness and hue a little. What it draws depends on seed,
# epoch and picture alone, so it is the same on one process and on eight.


# %%
def data_module():
    shared = {"batch_size": 32, "augment": Augment("light"), "num_workers": 0, "seed": 0}
    if DATA:
        return ShardDataModule(DATA, view=View(size=64, crops=1, longest=96), **shared)
    return ToyDataModule(num_images=600, picture=96, view=View(size=64, crops=1, longest=96), **shared)


data = data_module()
data.prepare_data()
data.setup("fit")
for split in ("train", "val", "test"):
    real, fake = data.label_counts(split)
    families = len(set(data.describe(data.rows(split))["family"]))
    print(f"{split:5}  {real:4} real and {fake:4} fake images in {families:3} families")

batch = next(iter(data.train_dataloader()))
shown = batch["image"][:12].numpy()
captions = [LABELS[int(label)] for label in batch["label"][:12]]
display(image_grid(list(shown), captions, title="The first 12 images of a batch, as the net sees them"))

# %% [markdown]
# ## The net
#
# Two small CNNs. One reads pixels, the other the local spectrum of small blocks, where up-sampling leaves
# peaks. Their features are joined before a linear head; a logit above zero means fake.


# %%
def new_task():
    lightning.seed_everything(0, verbose=False)
    net = DualStream(
        rgb=SmallCNN(width=16),
        fft=SmallCNN(width=16, in_channels=LocalSpectrum().out_channels),
        spectrum=LocalSpectrum(),
    )
    return ClassificationTask(net, optimizer=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.05))


def new_trainer(folder, callbacks=()):
    return Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        use_distributed_sampler=False,  # dfd's own sampler shows each image once
        num_sanity_val_steps=0,
        callbacks=[StepSeed(0), *callbacks],
        logger=CSVLogger(WORK, name=folder, version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=5,
        default_root_dir=WORK,
    )


task = new_task()
print(f"{sum(weight.numel() for weight in task.net.parameters()):,} weights")

# %% [markdown]
# ## The fit
#
# The best epoch is chosen on the validation split. The test split is not touched before the end; dfd
# refuses to show it within a fit. A second checkpoint is kept in the middle of the run, for the experiment
# below.

# %%
best = ModelCheckpoint(WORK, filename="best", monitor="val/auroc", mode="max")
middle = ModelCheckpoint(WORK, filename="{epoch}", every_n_epochs=EPOCHS // 2, save_top_k=-1)
trainer = new_trainer("whole", [best, middle])
trainer.fit(task, data)
last = {name: value.clone() for name, value in task.net.state_dict().items()}


def logged(name):
    """(steps, values) of a metric in metrics.csv."""
    path = WORK / "whole" / "metrics.csv"
    lines = np.genfromtxt(path, delimiter=",", names=True, deletechars="", dtype=float)
    known = ~np.isnan(lines[name])
    return lines["step"][known], lines[name][known]


figure = Figure(figsize=(8, 2.8), layout="constrained")
loss, auroc = figure.subplots(1, 2)
for split, style in (("train", "--"), ("val", "-")):
    loss.plot(*logged(f"{split}/loss"), style, label=split)
    auroc.plot(*logged(f"{split}/auroc"), style, label=split)
loss.set(xlabel="Step", ylabel="Loss")
auroc.set(xlabel="Step", ylabel="AUROC", ylim=(0.4, 1.02))
auroc.legend(frameon=False)
display(figure)

# %% [markdown]
# ## The test
#
# The table of predictions has one line an image, with its family and its method. Metrics, intervals and
# curves are functions of it. The interval is a bootstrap that draws whole *families*, since six pictures of
# two persons are not six independent pictures. With as few families as the toy test split has, it is wide.
# A figure without it would be a guess in disguise.

# %%
judged = ClassificationTask.load_from_checkpoint(best.best_model_path, net=new_task().net)
new_trainer("test").test(judged, data, verbose=False)
table = judged.predictions
parts = {"all fakes": table, **by_method(table)}
for name, part in parts.items():
    metrics, (low, high) = detection_metrics(part), interval(part)
    print(
        f"{name:14} AUROC {metrics['auroc']:.3f} ({low:.3f}, {high:.3f})  "
        f"{metrics['num_images']:.0f} images in {metrics['num_groups']:.0f} families"
    )

figure = Figure(figsize=(8, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2)
threshold = judged.thresholds["balanced"]
roc(table.label, table.logit, threshold, left)
prob = 1 / (1 + np.exp(-judged.calibration(table.logit)))
reliability(table.label, prob, right)
display(figure)

# %% [markdown]
# The dot is the threshold that was chosen on the validation split. It need not lie at the best corner of
# the test curve: it was chosen without seeing it. The right half asks whether P(fake) means what it says;
# with few images each bar rests on a handful of them.
#
# ## Kill it and go on
#
# Order and augmentation follow from seed and epoch, dropout from seed and step. So a run that was cut goes
# on as if nothing had happened. Here a fresh task takes the checkpoint of the middle and trains the rest:

# %%
halfway = WORK / f"epoch={EPOCHS // 2 - 1}.ckpt"
again = new_task()
new_trainer("resumed").fit(again, data_module(), ckpt_path=halfway)
same = [torch.equal(value, last[name]) for name, value in again.net.state_dict().items()]
print(f"{sum(same)} of {len(same)} weight tensors are equal to the bit")
assert all(same)

# %% [markdown]
# ## One file, one verdict
#
# The checkpoint rebuilds its net without any config, and brings view, calibration and thresholds along.
# `drawings=True` says that the pictures are drawings: of a photograph this detector would refuse to speak.

# %%
detector = dfd.load(best.best_model_path, drawings=not DATA)
(root,) = data.roots
lines = load_table(root).to_pylist()
for row in data.rows("test")[:2]:
    (score,) = detector.score(read_bytes(Path(root), lines[row]), whole=True)
    print(f"truth {LABELS[lines[row]['label']]:4}  verdict {score.verdict}, P(fake) {score.prob:.3f}")
    print(f"  {score.reason}" if score.reason else "  no reservation")

# %% [markdown]
# The verdict may well be *inconclusive*, however high the AUROC. dfd says *fake* only where it can certify,
# at 95% confidence, that at most 5% of reals of each source are called so, and that takes more validation
# pictures than a toy set has. Silence is the honest answer to "how often is this word wrong?" when nobody
# has counted.
#
# ## What to take home
#
# - A number needs three companions: its interval, how many images, how many families.
# - Choose on validation, look at test once.
# - A detector is not a score but a score, a calibration, a threshold and a right to stay silent; keep them
#   in one file.
