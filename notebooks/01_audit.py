# %% [markdown]
# # 1. Can a detector cheat on this data set?
#
# A detector of deepfakes learns whatever tells the two folders apart. If the fakes went through another
# program than the reals, that program is the easiest thing to learn, and the detector's score says nothing
# about forgery. JPEG quality and picture size have done this in published data sets ([Grommelt et al.,
# 2024](https://arxiv.org/abs/2403.17608)).
#
# This notebook asks that question of a data set *before* anything is trained. It audits the embedded toy
# set (drawings, not photographs), then plants three faults one by one and looks whether they are found:
#
# 1. all fakes were saved once more as JPEG,
# 2. all fakes are a little brighter,
# 3. one picture of training lies, in another encoding, in the test split.
#
# To audit pictures of your own, set `DATA` to a folder that `dfd prepare PICTURES --out SHARDS` made.

# %%
import os
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from IPython.display import display

from dfd.audit import audit
from dfd.audit.pictures import read_pictures
from dfd.audit.shortcuts import ask, color_facts, file_facts
from dfd.batch import FAKE, LABELS
from dfd.media.decode import decode
from dfd.media.encode import encode_jpeg
from dfd.plots import class_bars, image_grid, score_bars
from dfd.prepare.pipeline import prepare
from dfd.prepare.reencode import Reencoding, reencode
from dfd.shards.table import load_table, read_bytes
from dfd.synthetic import make_toy, toy_root

# %matplotlib inline
matplotlib.rcParams["figure.dpi"] = 72

DATA = os.environ.get("DFD_NOTEBOOK_DATA")  # finished shards; None: the toy set
WORK = Path(tempfile.mkdtemp(prefix="dfd-"))  # whatever this notebook writes

TOY = {"num_images": 300, "size": 96}
shards = Path(DATA) if DATA else make_toy(toy_root(**TOY), **TOY)

# %% [markdown]
# ## What is there
#
# The unit of honest counting is not the picture but the *family*: pictures of one person, one video or one
# original hang together, and say little more than one picture does. `dfd prepare` finds families by names,
# by bytes and by looks, and keeps each in one split.

# %%
table = load_table(shards)
rows = table.select(["split", "label", "method", "source", "family"]).to_pylist()
for split in ("train", "val", "test"):
    mine = [row for row in rows if row["split"] == split]
    classes = Counter(LABELS[row["label"]] for row in mine)
    print(
        f"{split:5}  {len(mine):4} images in {len({row['family'] for row in mine}):3} families: "
        f"{dict(classes)}"
    )

counts = Counter((row["method"] or "real", row["label"]) for row in rows)
methods = sorted({method for method, _ in counts}, key=lambda method: (method != "real", method))
bars = {method: (counts[method, 0], counts[method, 1]) for method in methods}
display(class_bars(bars, f"{len(rows)} images in {len({row['family'] for row in rows})} families, by method"))

# %% [markdown]
# One family, as an example. In the toy set two persons give three real pictures and three forgeries; a swap
# shows both of them, so both belong to one family.


# %%
def picture(row):
    return decode(read_bytes(shards, row))


lines = table.to_pylist()
family = [line for line in lines if line["family"] == lines[0]["family"]][:6]
captions = [line["method"] or "real" for line in family]
display(image_grid([picture(line) for line in family], captions, title=f"One family: {len(family)} images"))

# %% [markdown]
# ## The audit
#
# Two small models (random trees) look at each picture. One sees what the file says without its pixels:
# size, bytes a pixel, JPEG quality, quantization table, EXIF. The other sees global colour and brightness
# only. Neither can see a forgery. Each learns on some families and is asked about others. Where one of them
# does well, so can a detector, for the same bad reason.
#
# The word behind each number goes by the *lower* end of the interval, so that chance alone accuses no data
# set. And where the families are too few to rule a shortcut out, the audit says so instead of "none".


# %%
def told(shortcut):
    print(
        f"{shortcut.name:22} AUROC {shortcut.auroc:.2f} ({shortcut.low:.2f}, {shortcut.high:.2f}) on "
        f"{shortcut.num_images} images in {shortcut.num_groups} families: {shortcut.word}"
    )


clean = audit(shards, WORK / "audit-clean", workers=1)
for shortcut in clean.shortcuts:
    told(shortcut)
print(clean.leaks)

# %% [markdown]
# ## Fault 1: the fakes were saved once more
#
# Nobody does this on purpose. It happens when the forger's script ends with `image.save("fake.jpg")`. We
# give every fake one more JPEG encoding of quality 80 and prepare the result as a data set of its own.


# %%
def planted(name, change):
    """The same pictures as shards, with every fake's bytes changed. Families stay as they are known."""
    folder = WORK / name
    folder.mkdir()
    lines_out = ["path,label,group,split,source,method"]
    for number, line in enumerate(lines):
        data = read_bytes(shards, line)
        data = change(data) if line["label"] == FAKE else data
        (folder / f"{number:05d}.jpg").write_bytes(data)
        label = LABELS[line["label"]]
        lines_out.append(
            f"{number:05d}.jpg,{label},{line['family']},{line['split']},{line['source']},{line['method']}"
        )
    (folder / "samples.csv").write_text("\n".join(lines_out) + "\n", encoding="utf-8")
    prepare(folder, WORK / f"{name}-shards", workers=1)
    return WORK / f"{name}-shards"


saved_again = planted("saved-again", lambda data: encode_jpeg(decode(data), 80))
found = audit(saved_again, WORK / "audit-saved-again", workers=1)
for shortcut in found.shortcuts:
    told(shortcut)
file = found.shortcuts[0]
display(score_bars(file.parts, f"{file.name}, one at a time: {file.num_images} images"))

# %% [markdown]
# The audit names the fact that gives the label away. A detector that is trained here would have a splendid
# AUROC and would know one thing: which quantization table the last program used.
#
# `dfd reencode` is the usual remedy: every picture is cut, resized and encoded alike, so that the headers
# say nothing any more.

# %%


def asked(name, root):
    """One of the two questions alone, without the page."""
    table = load_table(root)
    pictures = read_pictures(root, table, 1, lambda count: None)
    facts = file_facts(table, pictures) if name == "File facts" else color_facts(pictures)
    family = table["family"].to_numpy(zero_copy_only=False).astype(str)
    return ask(name, facts, table["label"].to_numpy(), family)


side = min(min(line["width"], line["height"]) for line in lines)
reencode(saved_again, WORK / "alike", Reencoding(jpeg=90, size=side), workers=1)
told(asked("File facts", WORK / "alike"))

# %% [markdown]
# Compare the file facts with those of the untouched set. What headers say is equal now. What remains, if
# anything, is the size of the file: a picture that was compressed before compresses better the second time,
# and *no* encoding takes that out of the pixels. A net can still see it. Re-encoding makes cheating harder;
# it does not make a bad data set good.
#
# ## Fault 2: the fakes are brighter
#
# Six grey levels of 255. Side by side hardly anybody sees it.

# %%
brighter = planted(
    "brighter", lambda data: encode_jpeg(np.clip(decode(data) + 6.0, 0, 255).astype(np.uint8), 95)
)
colour = asked("Colour and brightness", brighter)
told(colour)
display(score_bars(colour.parts, f"{colour.name}, one at a time: {colour.num_images} images"))

# %% [markdown]
# Six levels are little beside what lamps and skins do, so this fault is weaker than the first, and the
# model needs the pictures of many families to see it at all. A net that trains on thousands will see it
# better.
#
# ## Fault 3: a leak
#
# One training picture is copied into the test split under another name, smaller and encoded again. Its
# bytes are new and its name is new. `dfd prepare` refuses to make such shards:

# %%
folder = WORK / "brighter"
train = next(
    number for number, line in enumerate(lines) if line["split"] == "train" and line["label"] != FAKE
)
small = cv2.resize(decode((folder / f"{train:05d}.jpg").read_bytes()), (80, 80), interpolation=cv2.INTER_AREA)
(folder / "holiday.jpg").write_bytes(encode_jpeg(small, 70))
with (folder / "samples.csv").open("a", encoding="utf-8") as file:
    file.write(f"holiday.jpg,real,somebody-else,test,{lines[train]['source']},\n")
try:
    prepare(folder, WORK / "leaking", workers=1)
except ValueError as error:
    print(str(error).replace(str(WORK), "WORK"))

# %% [markdown]
# ## What to take home
#
# - Audit before you train. It takes seconds; a detector that learnt a quantization table costs a year.
# - Read the interval, not the number. With few families "nothing found" means little, and the audit says
#   so.
# - An audit finds the shortcuts that it asks about. "none" is no certificate for all others.
# - Splits go by families. A random split of pictures would have put the two halves of a family on both
#   sides.
#
# From the command line: `dfd audit SHARDS --out audit/mine` writes all of this as one page.
