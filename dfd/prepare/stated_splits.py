"""Stated splits: whether the splits that a source states hold for both of its classes."""

import pyarrow as pa
import pyarrow.compute as pc

from dfd.batch import FAKE, LABELS, REAL


def partly_stated(plan: pa.Table) -> str:
    """For how many pictures of each class a split is stated, in words; "" where for all or for none.

    Args:
        plan: with `label` and `split`, null where the source states none.
    """
    if len(plan) - plan["split"].null_count in (0, len(plan)):
        return ""
    return ", ".join(
        f"{_num_stated(plan, label)} of {_num(plan, label)} {LABELS[label]} pictures"
        for label in (REAL, FAKE)
        if _num(plan, label)
    )


def one_class_stated(plan: pa.Table) -> bool:
    """Whether splits are stated for pictures of one class, and for none of the other, which has some."""
    num_stated = [_num_stated(plan, label) for label in (REAL, FAKE) if _num(plan, label)]
    return any(num_stated) and not all(num_stated)


def without_splits(plan: pa.Table) -> pa.Table:
    at = plan.schema.get_field_index("split")
    return plan.set_column(at, plan.schema.field(at), pa.nulls(len(plan), pa.string()))


def _num(plan: pa.Table, label: int) -> int:
    return pc.sum(pc.equal(plan["label"], label)).as_py() or 0


def _num_stated(plan: pa.Table, label: int) -> int:
    return _num(plan.filter(pc.is_valid(plan["split"])), label)
