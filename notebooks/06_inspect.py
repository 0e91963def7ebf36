# %% [markdown]
# # 6. One photograph, no detector: what does the file itself say?
#
# A detector gives a number for a picture. An analyst asks something else: was *this file* edited, where,
# and how sure may I be? dfd's forensic tools answer that without a net. Each looks for one trace, such as a
# second compression, a copied place, or broken traces of the sensor's colour filter, and each errs at a
# rate that was measured.
#
# This notebook takes a photograph whose history is known, plants two edits in it, and asks every tool about
# the untouched file and the edited ones. An answer that is the same for both is worth nothing, however red
# its map.
#
# The photograph is a scene that dfd draws, taken by a simulated camera (lens, colour filter, sensor noise,
# demosaicing). So the notebook needs no download, and the truth is known to the pixel. Real cameras do more
# to a picture than that. Set `DATA` to a photograph of your own to plant the edits there.

# %%
import os
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import piexif
from IPython.display import display
from scipy.stats import binomtest

from dfd.evaluate.forensic_benchmark.localization import locate
from dfd.evaluate.forensic_benchmark.planted_edits import plant
from dfd.evaluate.forensic_benchmark.scenes import Scenes
from dfd.forensics import TOOLS, Catalogue, examine
from dfd.forensics.measured import measured
from dfd.inspection import inspect_files
from dfd.inspection.evidence import in_order
from dfd.media.decode import decode
from dfd.media.encode import encode_jpeg
from dfd.plots import image_grid

# %matplotlib inline
matplotlib.rcParams["figure.dpi"] = 72

DATA = os.environ.get("DFD_NOTEBOOK_DATA")  # a photograph; None: a drawn scene
WORK = Path(tempfile.mkdtemp(prefix="dfd-"))  # whatever this notebook writes

# %% [markdown]
# ## One photograph, two edits
#
# *Copy*: a piece of the picture is pasted a second time elsewhere, as one hides something or makes a crowd
# larger. *Splice*: a piece of another photograph is pasted in. Both edges are feathered as an editor does
# it, and all three files are saved the same way, as JPEG of quality 92, so that only the edit differs.
# White is what was changed.

# %%
scenes = Scenes(16, seed=3, size=384)
photograph = scenes.photograph(0)
if DATA:
    whole = decode(Path(DATA).read_bytes())
    top, left = ((side - min(side, 1024)) // 2 for side in whole.shape[:2])
    photograph = whole[top : top + 1024, left : left + 1024]  # the middle: enough for all tools, and quick

copied, copied_mask = plant("copy_move", photograph, scenes.photograph(1), np.random.default_rng(1))
spliced, spliced_mask = plant("splice", photograph, scenes.photograph(1), np.random.default_rng(1))
files = {name: encode_jpeg(pixels, 92) for name, pixels in
         {"untouched": photograph, "copy": copied, "splice": spliced}.items()}  # fmt: skip


def small(pixels):
    return cv2.resize(
        pixels, (192, round(192 * pixels.shape[0] / pixels.shape[1])), interpolation=cv2.INTER_AREA
    )


white = [np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=2) for mask in (copied_mask, spliced_mask)]
shown = [photograph, copied, spliced, *white]
captions = ["untouched", "copy", "splice", "changed: copy, both ends", "changed: splice"]
display(image_grid([small(each) for each in shown], captions, columns=5))

# %% [markdown]
# ## What each tool says
#
# Four words matter. *found*: the trace is there. *clear*: the tool looked and did not find it. *absent*:
# the file has nothing for this tool to look at. *abstained*: the tool cannot judge such a file, and says so
# instead of guessing. The last columns are from `dfd bench-forensics`: what the tool has been shown to be
# good for, and on how many untouched camera photographs in a hundred it cries out for nothing, at worst
# (95% interval).

# %%
told = {name: examine(data, TOOLS) for name, data in files.items()}
words = Catalogue()
print(f"{'tool':44} {'untouched':10} {'copy':10} {'splice':10} shown to  false alarms up to")
for findings in zip(*(examined.findings for examined in told.values()), strict=True):
    figures = measured(findings[0].tool, findings[0].version)
    rate = figures.false_alarm_rate if figures else None
    statuses = " ".join(f"{finding.status:10}" for finding in findings)
    alarms = (
        f"{rate.high:.0%} ({rate.num_images} photographs)" if rate and figures.trust != "describes" else "-"
    )
    print(
        f"{words.title(findings[0].tool)[:43]:44} {statuses} {figures.trust if figures else '-':9} {alarms}"
    )

# %% [markdown]
# Read the columns against each other. A tool that says *found* in all three columns found something about
# how the picture was made, not the edit. And look how many tools pass the splice without a word. Nothing is
# wrong with them: each looks for one trace, and this edit did not leave theirs. **A page of green is no
# proof that a picture is genuine.**
#
# ## The evidence, in order
#
# `in_order` puts traces first, and of these the ones whose tool errs least. Each comes with what to look at
# and what to ignore.

# %%
for name in ("copy", "splice"):
    evidence = in_order(told[name].findings, told[name].seconds, words)
    traces = [each for each in evidence if each.is_found]
    print(f"== {name}: {len(traces)} of {len(evidence)} tools found a trace")
    for each in traces:
        print(f"{each.title}: {each.sentence}")
        print(f"  look at: {each.look}")
        print(f"  ignore:  {each.ignore}")
        print(f"  how far to believe it: {each.figure}")

# %% [markdown]
# ## Maps: the edited file beside its untouched twin
#
# Every map has bright places; eyes find a face in a cloud. The only fair way to look at one is beside the
# same map of the same picture without the edit. The number is the pixel AUROC: how well the map ranks the
# changed pixels above the others. .5 is a map that knows nothing. It is given for the twin too, with the
# mask of an edit that never happened there: whatever it scores above .5 is what the *place* gives away, not
# the edit.

# %%
grid, captions = [], []
for name, mask in (("copy", copied_mask), ("splice", spliced_mask)):
    scored = []
    for finding, twin in zip(told[name].findings, told["untouched"].findings, strict=True):
        if finding.map is not None and finding.map.overlay and twin.map is not None:
            scored.append(
                (locate(finding.map, mask).pixel_auc, locate(twin.map, mask).pixel_auc, finding, twin)
            )
    scored.sort(key=lambda each: each[1] - each[0])
    for edited, untouched, finding, twin in scored[:3]:
        for which, found, auc in (("edited", finding.map, edited), ("twin", twin.map, untouched)):
            values = np.clip((found.values - found.low) / (found.high - found.low), 0, 1)
            drawn = cv2.resize((255 * values).astype(np.uint8), (192, 192), interpolation=cv2.INTER_NEAREST)
            grid.append(np.repeat(drawn[..., None], 3, axis=2))
            captions.append(f"{name}, {which}: {auc:.2f}\n{words.title(finding.tool)}")
display(image_grid(grid, captions, columns=6, title="The three maps that gain most from each edit"))

# %% [markdown]
# These are the best three maps, chosen because we know the mask. An analyst does not, and would have looked
# at all of them. So the picture above flatters the tools; the next section does not.
#
# ## How often, not whether
#
# One picture shows that a tool *can* find a copy. Here eight further photographs, each with its untouched
# twin, are shown to the tool that compares keypoints and to the one that reads the colour filter array.
# Intervals are exact (Clopper and Pearson); each photograph is a family of its own.

# %%
ASKED = ("copy_move_keypoints", "cfa")
tools = [tool for tool in TOOLS if tool.name in ASKED]
NUM = 8
counts = {(tool, kind): 0 for tool in ASKED for kind in ("untouched", "copy_move", "splice")}
for number in range(2, 2 + NUM):
    pixels, donor = scenes.photograph(number), scenes.photograph(number + 1)
    for kind in ("untouched", "copy_move", "splice"):
        rng = np.random.default_rng(number)
        edited = pixels if kind == "untouched" else plant(kind, pixels, donor, rng)[0]
        for finding in examine(encode_jpeg(edited, 92), tools).findings:
            counts[finding.tool, kind] += finding.status == "found"
for (tool, kind), count in counts.items():
    ends = binomtest(count, NUM).proportion_ci(0.95)
    print(
        f"{words.title(tool)[:40]:41} {kind:10} found in {count} of {NUM} ({ends.low:.0%} to {ends.high:.0%})"
    )

# %% [markdown]
# Eight pictures leave wide intervals: zero false alarms of eight still allow more than a third. That is why
# the measured rates above, on more photographs, come with their own intervals, and why one alarm is a
# reason to look and not a verdict.
#
# ## What the file says of itself
#
# Metadata are the cheapest trace and the cheapest to fake. We write into the spliced file that a camera
# took it, and that a program saved it a day later.

# %%
exif = piexif.dump(
    {
        "0th": {piexif.ImageIFD.Make: b"Drawn", piexif.ImageIFD.Software: b"GIMP 2.10.36",
                piexif.ImageIFD.DateTime: b"2024:05:02 18:30:00"},
        "Exif": {piexif.ExifIFD.DateTimeOriginal: b"2024:05:01 12:00:00"},
    }
)  # fmt: skip
path = WORK / "splice.jpg"
path.write_bytes(files["splice"])
piexif.insert(exif, str(path))
metadata = next(each for each in examine(path.read_bytes(), TOOLS).findings if each.tool == "metadata")
print(f"{metadata.status}: {words.answer(metadata)}")
for row in metadata.table.rows if metadata.table else ():
    print("  ", " | ".join(str(cell) for cell in row))

# %% [markdown]
# Nobody had to look at a pixel for that, and the tool puts it mildly: an edit is no forgery. The same lines
# could have been written into an untouched photograph, and a forger takes them out. What metadata say is a
# lead; that they say nothing acquits nobody.
#
# ## The page
#
# `dfd inspect FILE --out DIR` writes all of this as one page that can be printed, with every map under a
# slider and the error rate beside each finding. The same from Python:

# %%
with redirect_stdout(StringIO()):  # its paths are of a temporary folder
    inspect_files([path], WORK / "pages", workers=1)
print("written:", sorted(file.name for file in (WORK / "pages").iterdir()))

# %% [markdown]
# ## What to take home
#
# - Look at the untouched twin, or at the tool's measured false alarms, before you believe a map.
# - Tools that agree are stronger than one that shouts, if they look for different traces.
# - "Nothing found" means that these tools did not find what they look for. It is never proof.
