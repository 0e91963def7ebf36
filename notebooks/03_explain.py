# %% [markdown]
# # 3. Where does a verdict come from, and is the map true?
#
# A heat map over a face convinces everybody, which is what is wrong with it. A map can be drawn of any net,
# also of one that has learnt nothing, and it will lie on the face, because the face is where the edges are.
# This notebook draws maps of several kinds and then tests each one:
#
# 1. **deletion and insertion**: does taking away what the map marks move the logit sooner than taking away
#    places at random ([Petsiuk et al., 2018](https://arxiv.org/abs/1806.07421))?
# 2. **random weights**: does a net that has learnt nothing get another map ([Adebayo et al.,
#    2018](https://arxiv.org/abs/1810.03292))?
# 3. **planted truth**: the toy set knows where each fake was forged. Does the map point there?
#
# The first two ask whether the map tells of *this net*. The third asks whether the net looks at the
# forgery. A map may pass the first and fail the third: a true map of a net that looks elsewhere.
#
# By default the detector is a small one, trained here in seconds on drawings; its maps say nothing about
# detectors of photographs. Set `DATA` to shards of your own; masks are then used where the shards have
# some.

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
from dataclasses import replace
from functools import partial
from pathlib import Path

import lightning
import numpy as np
import torch
from IPython.display import display
from lightning.pytorch import Trainer

from dfd.batch import FAKE
from dfd.callbacks import StepSeed
from dfd.data import ShardDataModule, ToyDataModule, View
from dfd.explain import (
    attribute,
    band_edges,
    band_occlusion,
    faithfulness,
    how_far,
    pointing_game,
    random_orders,
    removals,
    share_on,
    stream_contributions,
    survival,
)
from dfd.media.decode import decode
from dfd.models import DualStream, LocalSpectrum, SmallCNN
from dfd.plots import band_curves, image_grid, removal_curves, stream_bars
from dfd.shards.table import load_table
from dfd.tasks import ClassificationTask

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

DATA = os.environ.get("DFD_NOTEBOOK_DATA")  # finished shards; None: the toy set
WORK = Path(tempfile.mkdtemp(prefix="dfd-"))  # whatever this notebook writes
VIEW = View(size=64, crops=1, longest=96)

# %% [markdown]
# ## A detector to explain

# %%
shared = {"view": VIEW, "batch_size": 32, "num_workers": 0}
data = ShardDataModule(DATA, **shared) if DATA else ToyDataModule(num_images=600, picture=96, **shared)
data.prepare_data()
data.setup("fit")

lightning.seed_everything(0, verbose=False)
spectrum = LocalSpectrum()
net = DualStream(SmallCNN(width=16), SmallCNN(width=16, in_channels=spectrum.out_channels), spectrum)
task = ClassificationTask(net, optimizer=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.05))
trainer = Trainer(
    max_epochs=4,
    accelerator="cpu",
    use_distributed_sampler=False,
    num_sanity_val_steps=0,
    callbacks=[StepSeed(0)],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    default_root_dir=WORK,
)
trainer.fit(task, data)
trainer.save_checkpoint(WORK / "small.ckpt")
detector = dfd.load(WORK / "small.ckpt", drawings=not DATA)
val = task.predictions
auroc = trainer.callback_metrics["val/auroc"]
print(f"val AUROC {auroc:.3f} on {len(val)} images in {val.num_families} families")

# %% [markdown]
# ## The pictures
#
# Maps are drawn of test pictures, which the net has not seen. Each is cut as the net sees it, and its mask
# is cut alike: white is where the fake was forged. A picture that was up-sampled as a whole is white all
# over.


# %%
(root,) = data.roots
lines = load_table(root).to_pylist()


def cut(data_bytes):
    """The net's view of a picture: (size, size, 3) uint8."""
    return VIEW.eval_crops(decode(data_bytes))[0]


def part(line, kind):
    """The bytes of a picture ("") or of its mask ("mask_") out of its shard."""
    with (Path(root) / line["shard"]).open("rb") as file:
        file.seek(line[f"{kind}offset"])
        return file.read(line[f"{kind}length"])


test = [lines[row] for row in data.rows("test")]
fakes = [line for line in test if line["label"] == FAKE]
pictures = np.stack([cut(part(line, "")) for line in fakes])
masks = [cut(part(line, "mask_"))[..., 0] > 127 if line["mask_offset"] >= 0 else None for line in fakes]
images = torch.from_numpy(pictures).movedim(-1, 1).float() / 255  # (N, 3, H, W)
with torch.no_grad():
    logits = detector.net.eval()(images)
families = len({line["family"] for line in fakes})
found = (logits > detector.card.thresholds["balanced"]).sum()
print(f"{len(fakes)} fakes in {families} families; {found} lie above the threshold")

# %% [markdown]
# ## Four maps of six fakes
#
# Grad-CAM is coarse: it shows cells of a layer, and this net has two streams with a layer each, one for
# pixels and one for local spectra. Integrated gradients give each pixel its share of the logit, with a
# sign: red speaks for fake, blue against it. Occlusion blurs one place after another and watches the logit
# fall. The surest fakes are shown, one of each family, since a map of an unsure verdict explains nothing.

# %%
MAPS = {  # name -> method and layer
    "Grad-CAM, pixels": ("gradcam", "rgb"),
    "Grad-CAM, spectra": ("gradcam", "fft"),
    "integrated gradients": ("integrated_gradients", None),
    "occlusion": ("occlusion", None),
}


def maps_of(detector, images, name):
    """(B, H, W), one map an image."""
    method, layer = MAPS[name]
    return attribute(detector, images, method, layer, steps=20).map


order = torch.argsort(logits, descending=True).tolist()
chosen, seen = [], set()
for at in order:
    if fakes[at]["family"] not in seen and len(chosen) < 6:
        chosen.append(at)
        seen.add(fakes[at]["family"])

maps = {name: maps_of(detector, images[chosen], name) for name in MAPS}
grid, captions, heat = [], [], []
for at in chosen:
    grid.append(pictures[at])
    captions.append(f"{fakes[at]['method']}, logit {logits[at]:.1f}")
    heat.append(None)
for at in chosen:
    white = np.zeros_like(pictures[at]) if masks[at] is None else np.repeat(255 * masks[at][..., None], 3, 2)
    grid.append(white.astype(np.uint8))
    captions.append("where it was forged")
    heat.append(None)
for name in MAPS:
    for place, at in enumerate(chosen):
        grid.append(pictures[at])
        captions.append(name)
        heat.append(maps[name][place].numpy())
display(image_grid(grid, captions, heat, columns=6, title=f"{len(chosen)} fakes of {len(seen)} families"))

# %% [markdown]
# ## Is the map true of the net?
#
# Of each map: how many of the random orders, and of the random maps, it beats, and how much of it survives
# when the weights are shuffled. A map *holds* if it beats 95% of both and does not survive. This is asked
# of each picture anew: "Grad-CAM is faithful" is a sentence about one map of one picture, not about a
# method.

# %%
print(f"{'method':22} orders beaten  maps beaten  survival  holds")
told = {}
for place, at in enumerate(chosen[:3]):
    orders, removed = random_orders(detector, images[at]), removals(detector, images[at])
    for name in MAPS:
        tested = faithfulness(detector, images[at], maps[name][place], orders, removed=removed)
        explain = partial(maps_of, name=name)
        survives = survival(detector, images[at : at + 1], explain, seeds=1)
        tested = replace(tested, survival=survives)
        told[place, name] = (tested, orders)
        if tested.empty:
            print(f"{name:22} the map is the same everywhere: it says nothing")
            continue
        print(
            f"{name:22} {tested.beaten:13.0%}  {tested.maps_beaten:11.0%}  {survives:8.2f}  "
            f"{'yes' if tested.holds else 'no'}"
        )

curves = {
    name: (told[0, name][0].deletion_curve, told[0, name][0].insertion_curve)
    for name in MAPS
    if not told[0, name][0].empty
}
random = told[0, "occlusion"][1].curves
display(removal_curves(curves, random, "The first fake: its logit as places go and come"))
for name in MAPS:
    print(f"{name}: {how_far(told[0, name][0])}")

# %% [markdown]
# ## Does the net look at the forgery?
#
# Over all test fakes whose mask covers a part of the picture. *Pointing*: how often the strongest place of
# the map lies in the mask. *Share*: how much of its positive values lie there. A map that says nothing
# scores the size of the mask, so that is the line to beat. Up-sampled fakes are left out: all of the
# picture is forged.

# %%
partly = [at for at, mask in enumerate(masks) if mask is not None and 0 < mask.mean() < 0.9]
if partly:
    size = np.mean([masks[at].mean() for at in partly])
    num = len({fakes[at]["family"] for at in partly})
    print(f"{len(partly)} fakes in {num} families; the mask covers {size:.0%} of the picture on average")
    for name in MAPS:
        where = maps_of(detector, images[partly], name)
        inside = [torch.from_numpy(masks[at]) for at in partly]
        hits = np.mean([pointing_game(one, mask) for one, mask in zip(where, inside, strict=True)])
        share = np.nanmean([share_on(one, mask) for one, mask in zip(where, inside, strict=True)])
        print(f"{name:22} pointing {hits:.0%}  share {share:.0%}")
else:
    print("No fake of these shards has a mask, so nothing can be said.")

# %% [markdown]
# Compare with the size of the mask before you believe that the net "found the forgery". In most pictures
# the forgery covers the face, and the face is in the middle: a map that always marks the middle would do
# well too.
#
# ## Which stream, which frequencies?
#
# The bars say how far the mean logit of the fakes falls when a stream's features are replaced by those of
# real pictures. A Grad-CAM of a stream that moves nothing is a map of a bystander, however good it looks:
# compare with the table above. The curve says how far the logit falls when a ring of frequencies is taken
# out of the picture. Those near .5 cycles a pixel are the finest detail, and the first to go in JPEG: what
# rests on them does not survive a messenger. The next notebook measures that.

# %%
reals = [line for line in test if line["label"] != FAKE]
reference = torch.from_numpy(np.stack([cut(part(line, "")) for line in reals])).movedim(-1, 1).float() / 255
streams = stream_contributions(detector, images, reference)
means = [
    {name: float(value.mean()) for name, value in each.items()} for each in (streams.replaced, streams.shares)
]
display(stream_bars(*means))
falls = band_occlusion(detector, images)
display(band_curves(band_edges().numpy(), falls.mean(0).numpy()))
print(f"both: the mean over {len(fakes)} fakes in {families} families")

# %% [markdown]
# ## What to take home
#
# - A map is a claim. Test it on the picture that it explains, or do not show it.
# - Faithful to the net and right about the forgery are two questions; only planted truth answers the
#   second.
# - `dfd explain CHECKPOINT FILES --out DIR` does the first for every map, and writes beside it how far it
#   may be believed.
