import torch
from lightning.pytorch import LightningModule
from torch import nn

from dfd.callbacks.net_summary import summary


class Task(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
        self.loss = nn.BCEWithLogitsLoss()
        self.teacher = nn.Linear(4, 1).requires_grad_(False)


def test_a_line_a_net_says_how_many_of_its_parameters_learn():
    task = Task()
    assert [*summary(task)] == [
        "net: Sequential, 11 parameters, which all learn (0 8; 2 3)",
        "teacher: Linear, 5 parameters, none of which learns",
    ]
    task.net[0].requires_grad_(False)
    assert next(summary(task)) == "net: Sequential, 11 parameters, of which 3 learn (0 8; 2 3)"
    task.net = nn.utils.parametrizations.weight_norm(nn.Linear(1000, 2000))
    assert "2,004,000 parameters, which all learn" in next(summary(task))
    assert not [*summary(torch.nn.ReLU())]
