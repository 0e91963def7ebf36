"""Black masks for the real pictures of a source whose fakes have masks.

Hugging Face's `load_dataset("webdataset")` refuses shards in which some samples have a mask and others have
none. The mask of a real picture is known: nothing is forged. That of a fake is not, so a fake without a mask
gets none.
"""

from functools import lru_cache

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd.batch import FAKE, REAL


@lru_cache(maxsize=256)
def black_mask(width: int, height: int) -> bytes:
    """A PNG of width x height pixels, one gray channel, all 0."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    return cv2.imencode(".png", np.zeros((height, width), np.uint8), options)[1].tobytes()


def mark_black_masks(table: pa.Table) -> pa.Table:
    """The rows of a source with a column `black_mask`: real, without a mask, while others have one.

    Args:
        table: with the columns `label` and `mask`, the path of a mask or null.
    """
    some = pc.any(pc.is_valid(table["mask"])).as_py()
    black = pc.and_(pc.equal(table["label"], REAL), pc.is_null(table["mask"]))
    return table.append_column("black_mask", black if some else pc.and_(black, False))


def num_unmasked_fakes(table: pa.Table) -> int:
    """Fakes without a mask in a samples.parquet where others have one."""
    masked = pc.greater_equal(table["mask_offset"], 0)
    if not pc.any(masked).as_py():
        return 0
    return pc.sum(pc.and_(pc.equal(table["label"], FAKE), pc.invert(masked))).as_py() or 0


def without_black_masks(table: pa.Table, plan: pa.Table) -> pa.Table:
    """A samples.parquet with the `mask_length` that the source gave: 0 where prepare added a black mask.

    Args:
        plan: the source as it is now, with the columns `path` and `mask`.
    """
    unmasked = plan.filter(pc.is_null(plan["mask"]))["path"].combine_chunks()
    suspects = pc.and_(pc.equal(table["label"], REAL), pc.is_in(table["path"], value_set=unmasked))
    lines = zip(
        suspects.to_pylist(),
        *(table[name].to_pylist() for name in ("mask_length", "width", "height")),
        strict=True,
    )
    length = [
        0 if suspect and length and length == len(black_mask(width, height)) else length
        for suspect, length, width, height in lines
    ]
    return table.set_column(
        table.column_names.index("mask_length"), "mask_length", pa.array(length, pa.int64())
    )
