"""The prediction table of a pass, as a torchmetrics Metric."""

import numpy as np
import torch

from dfd.tasks.prediction_table import PredictionTable


def batch(rows, valid=True):
    row = torch.tensor(rows, dtype=torch.int64)
    return row, row.float() / 3, row % 2, torch.full((len(rows),), valid)


def test_rows_come_back_in_order_with_all_digits():
    table = PredictionTable()
    for rows in ([7, 2], [5], []):
        table.update(*batch(rows))
    row, logit, label, distance = table.compute()
    assert row.tolist() == [2, 5, 7] and label.tolist() == [0, 1, 1]
    assert np.isnan(distance).all()
    assert logit.dtype == "float64" and logit.tolist() == (torch.tensor([2.0, 5, 7]) / 3).double().tolist()


def test_what_could_not_be_decoded_is_left_out():
    table = PredictionTable()
    table.update(*batch([3]))
    table.update(*batch([1], valid=False))
    assert table.compute()[0].tolist() == [3]


def test_a_reset_table_is_empty_and_so_is_one_that_judged_nothing():
    table = PredictionTable()
    table.update(*batch([3]))
    table.reset()
    assert [len(column) for column in table.compute()] == [0, 0, 0, 0]


def test_no_row_is_kept_in_a_checkpoint():
    table = PredictionTable()
    table.update(*batch([3]))
    assert not table.state_dict()
