import pytest
from torch import nn

from dfd.eval_mode import eval_mode


def modes(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def test_each_module_is_in_the_mode_that_it_was_in():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(3), nn.Linear(2, 2)))
    net[1][0].eval()  # frozen, while the rest trains
    before = modes(net)
    with eval_mode(net) as judged:
        assert judged is net and not any(modes(net))
    assert modes(net) == before == [True, True, True, False, True]


def test_a_failure_inside_changes_nothing_of_that():
    net = nn.Sequential(nn.Dropout())
    with pytest.raises(RuntimeError, match="out of memory"), eval_mode(net):
        raise RuntimeError("out of memory")
    assert all(modes(net))


def test_a_net_in_eval_mode_stays_in_it():
    net = nn.Sequential(nn.Dropout()).eval()
    with eval_mode(net):
        pass
    assert not any(modes(net))
