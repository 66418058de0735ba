"""The average of the weights: its formula, and that it follows steps of the optimizer, not backward passes."""
import pytest
import torch

from dtbox.training.ema import WeightEMA
from tests.training.test_task import config, train  # noqa: F401


def test_by_hand():
    """d = (1 + n) / (10 + n) at first: 0.1, 2/11, ..."""
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    ema = WeightEMA(0.15)
    ema.attach(module)
    module.weight.data.fill_(1.0)
    ema.update()
    assert ema.weights['weight'].item() == pytest.approx(0.9)
    module.weight.data.fill_(2.0)
    ema.update()  # 2 / 11 is more than 0.15
    assert ema.weights['weight'].item() == pytest.approx(0.15 * 0.9 + 0.85 * 2)


def test_it_waits_for_accumulated_gradients(config, tmp_path):  # noqa: F811
    """16 backward passes make 4 steps of the optimizer, and 4 of the average."""
    options = {'optim_wrapper__classifier__accumulative_counts': 4, 'hooks': {}, 'val_dataloader': None}
    assert train(config, tmp_path / 'run', **options).ema.steps == 4
    assert train(config, tmp_path / 'every', hooks={}, val_dataloader=None).ema.steps == 16
