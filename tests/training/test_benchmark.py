"""The benchmark compares two loops that do the same: after as many steps their weights are bit-identical."""
import torch

from dtbox.config import load_config
from dtbox.training.benchmark import Costs, alternate


def test_both_loops_train_the_same_model(tiny_config, tmp_path):
    cfg = load_config(tiny_config, {'param_scheduler': None, 'hooks': None})
    loop = alternate(cfg, blocks=2, size=2, folder=str(tmp_path / 'run'))
    mine, bare = loop.runner.model, loop.bare.model
    assert int(mine.iteration) == loop.bare.iteration == 6 and len(loop.times['dtbox']) == len(loop.times['bare']) == 2
    for part in ('tokenizer', 'discriminator'):
        ours, theirs = getattr(mine, part).state_dict(), getattr(bare, part).state_dict()
        assert list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours), part


def test_ratio_counts_all_time():
    costs = Costs([10., 22., 99.], [10., 20., 30.], size=5, adversarial=0)
    assert costs.ratio == 131 / 60 and abs(costs.error - 0.7506) < 1e-4  # standard error of 1, 1.1 and 3.3
    assert 'ratio                 2.183 +- 0.751' in str(costs)
