"""The benchmark compares two loops that do the same: after as many steps their weights are bit-identical."""
import re

import pytest
import torch

from dtbox.config import load_config
from tools.benchmarks.training import Costs, alternate, main


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


def test_benchmark_prints_the_ratio(tiny_config, capsys):
    main([str(tiny_config), '--iters', '5', '--block', '2'])
    shown = capsys.readouterr().out
    milliseconds = r' +\d+\.\d\d ms an iteration\n'
    assert re.search(rf'Runner with hooks{milliseconds}bare loop{milliseconds}ratio +\d\.\d{{3}} \+- \d\.\d{{3}}\n',
                     shown)
    assert 'means of 2 blocks of 2 iterations each, in turn; the discriminator took part in 4 of 4' in shown


def test_too_few_iterations(tiny_config, capsys):
    with pytest.raises(SystemExit) as left:
        main([str(tiny_config), '--iters', '3', '--block', '10'])
    assert left.value.code == 2 and '3 iterations do not fill one block of 10' in capsys.readouterr().err
