"""The health of codebooks: numbers by hand, the warning, ranks that differ, and the files of a run."""
import json
import logging
from types import SimpleNamespace

import pytest
import torch

from dtbox import distributed
from dtbox.errors import Diverged, InputError
from dtbox.hooks.codebook_health import CodebookHealth
from dtbox.hooks.codebook_state import advise, check_ranks, hash_state
from dtbox.registry import QUANTIZERS
from dtbox.training.runner import Runner


class Scalars(list):
    def add_scalars(self, values, step):
        self.append((step, values))


def runner_of(folder, **quantizers):
    runner = SimpleNamespace(work_dir=str(folder), iter_done=0, max_iters=100, logger=logging.getLogger('health'),
                             visualizer=Scalars())
    runner.task = SimpleNamespace(quantizers=quantizers)
    return runner


def rq(**args):
    return QUANTIZERS.build(dict(type='RQ', size=8, dim=2, depth=2, **args)).train()


def read(folder):
    return [json.loads(line) for line in open(folder / 'codebooks.jsonl')]


def test_numbers_by_hand(tmp_path):
    """Two bits: four tokens at code 0, two each at 1 and 2 make an entropy of 1.5 bits."""
    lfq = QUANTIZERS.build(dict(type='LFQ', dim=2)).train()
    runner, hook = runner_of(tmp_path, pixel=lfq), CodebookHealth(interval=1, warn=0)
    hook.before_train(runner)
    lfq(torch.tensor([[[-9., -9.]] * 4 + [[9., -9.]] * 2 + [[-9., 9.]] * 2]))
    lfq.eval()(torch.tensor([[[9., 9.]]])), lfq.train()  # evaluation is not counted
    runner.iter_done = 1
    hook.after_train_iter(runner, 0)
    assert read(tmp_path) == [dict(iteration=1, usage_pixel=0.75, dead_pixel=1, entropy_pixel=pytest.approx(1.5),
                                   perplexity_pixel=pytest.approx(2 ** 1.5))]
    assert runner.visualizer[0][0] == 1 and runner.visualizer[0][1]['codebooks/usage_pixel'] == 0.75


def test_restarts_and_norms(tmp_path):
    quantizer = rq()
    runner, hook = runner_of(tmp_path, pixel=quantizer), CodebookHealth(interval=1, warn=0)
    hook.before_train(runner)
    quantizer(torch.randn(2, 3, 2)), quantizer.commit()
    quantizer.codebooks[0].weight.copy_(torch.tensor([[3., 4.]] * 4 + [[0., 15.]] * 4))
    runner.iter_done = 1
    hook.after_train_iter(runner, 0)
    row = read(tmp_path)[0]
    assert row['spread_pixel'] == 0.5 and row['restarts_pixel'] == quantizer.codebooks[0].restarts > 0
    assert {'usage_pixel_0', 'usage_pixel_1'} <= set(row)


def test_warning_comes_once_and_names_what_to_try(tmp_path, caplog):
    quantizer = rq(codebook=dict(type='EMACodebook', restart=0.0))
    runner, hook = runner_of(tmp_path, pixel=quantizer), CodebookHealth(interval=1, warn=0.9)
    hook.before_train(runner)
    for step in range(2):
        quantizer(torch.zeros(4, 16, 2))
        runner.iter_done += 1
        hook.after_train_iter(runner, step)
    said = [r.message for r in caplog.records]
    assert len(said) == 1
    assert '`pixel` uses' in said[0]
    assert 'codebook.restart=1.0' in said[0]
    assert 'less than 90 %' in said[0]
    assert 'levels or bits' in advise(QUANTIZERS.build(dict(type='FSQ', levels=[4])))
    hook.after_train_iter(runner, 2)  # nothing drawn: no verdict
    assert len(caplog.records) == 1


def test_a_collapse_is_told_once_until_recovered(tmp_path, caplog):
    """Usage against the median of five intervals before, depth by depth, also of those before a resume; settling at the
    start is no collapse."""
    lfq = QUANTIZERS.build(dict(type='LFQ', dim=3)).train()
    spread = torch.cartesian_prod(*[torch.tensor([-9.0, 9.0])] * 3).repeat(4, 1)[None]  # each of 8 codes four times

    def steps(hook, runner, *batches):
        for z in batches:
            lfq(z)
            runner.iter_done += 1
            hook.after_train_iter(runner, 0)
        return [r.message for r in caplog.records]
    runner, hook = runner_of(tmp_path, pixel=lfq), CodebookHealth(interval=1, warn=0)
    hook.before_train(runner)
    gone = spread.new_full(spread.shape, 9.)
    # the first, and one with too few tokens, are not judged
    assert not steps(hook, runner, spread, gone, *[spread] * 4, gone[:, :8])
    said = steps(hook, runner, gone, gone)
    assert len(said) == 1 and '`pixel` from 100.0 % to 12.5 %' in said[0] and 'by iteration 8' in said[0]
    assert len(steps(hook, runner, spread, gone)) == 2
    assert len(steps(hook, runner, *[spread] * 5)) == 2
    again = CodebookHealth(interval=1, warn=0)
    again.before_train(runner)
    assert len(steps(again, runner, gone)) == 3
    never = CodebookHealth(interval=1, warn=0, collapse=0)
    never.before_train(runner)
    assert len(steps(never, runner, gone)) == 3


def test_ranks_that_differ_stop_the_run(tmp_path, monkeypatch):
    mine, other = rq(), rq()
    monkeypatch.setattr(distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(distributed, 'gather_objects', lambda value: [value, dict(pixel=hash_state(other))])
    other.load_state_dict(mine.state_dict())
    check_ranks(dict(pixel=mine), 0)
    other.codebooks[0].weight[3, 1] += 1e-6
    with pytest.raises(Diverged, match=r'vocabulary `pixel` are no longer the same on all ranks: \[1\] differ'):
        check_ranks(dict(pixel=mine), 0)


def test_recomputed_forwards_count_once(tmp_path):
    quantizer = rq()
    runner, hook = runner_of(tmp_path, pixel=quantizer), CodebookHealth(interval=1)
    hook.before_train(runner)
    z = torch.randn(1, 5, 2, requires_grad=True)
    torch.utils.checkpoint.checkpoint(lambda t: quantizer(t).features, z, use_reentrant=False).sum().backward()
    assert [int(c.sum()) for c in hook.counts['pixel']] == [5, 5]


@pytest.mark.parametrize('args, says', [
     (dict(interval=0), 'at least 1'), (dict(warn=20), 'warn.* a number from 0 to 1'),
     (dict(collapse=True), 'collapse.*a number')])
def test_arguments(args, says):
    with pytest.raises(InputError, match=says):
        CodebookHealth(**args)


def test_in_a_run(tiny_config, tmp_path):
    from dtbox.config import load_config
    cfg = load_config(tiny_config, {'hooks': dict(_delete_=True,
                                                  codebook_health=dict(type='CodebookHealth', interval=2),
                                                  checkpoint=dict(type='Checkpoint', interval=6))})
    Runner.from_config(cfg, work_dir=str(tmp_path / 'run')).train()
    rows = read(tmp_path / 'run')
    assert [r['iteration'] for r in rows] == [2, 4, 6] and 0 < rows[-1]['usage_semantic_1'] <= 1
    assert (tmp_path / 'run' / 'codebook_health.png').stat().st_size > 10_000


@pytest.mark.parametrize('shift, shape, says', [
    (8, None, 'codes from 8 to .*`codebook_sizes` are'), (0, (2, 3, 1), r'codes of the shape \[2, 3, 1\]')])
def test_codes_out_of_range_stop_the_run(tmp_path, shift, shape, says):
    quantizer = rq()
    CodebookHealth(interval=1).before_train(runner_of(tmp_path, pixel=quantizer))
    found = quantizer.forward(torch.randn(2, 3, 2))
    quantizer.forward = lambda z: type(found)(found.features, found.codes * 0 + shift if shape is None
                                              else found.codes[..., :1], {})
    with pytest.raises(InputError, match=says):
        quantizer(torch.randn(2, 3, 2))
