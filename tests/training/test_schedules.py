"""WarmupCosineLR by hand: the first step is one warm-up step, and the cosine ends at the floor."""
import math

import pytest
import torch

from dtbox.training.schedules import WarmupCosineLR


def rates(steps, **args):
    """Learning rates of the first iterations, base 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupCosineLR(optimizer, **args)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    return found


def test_warm_up():
    """(k + 1) / warmup, so that the first iteration moves; k / warmup with `zero`."""
    assert rates(5, total=12, warmup=4)[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates(5, total=12, warmup=4, zero=True) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert rates(2, total=20, warmup=0.1) == [0.5, 1.0]  # a fraction of the run


def test_cosine_to_the_floor():
    """The floor scales the cosine; it is not a bound below which the cosine is cut."""
    found = rates(11, total=10, warmup=0, floor=0.2)
    assert found == pytest.approx([0.2 + 0.4 * (1 + math.cos(math.pi * k / 10)) for k in range(11)], abs=1e-12)
    assert found[0] == 1.0 and found[5] == pytest.approx(0.6) and found[10] == pytest.approx(0.2)
