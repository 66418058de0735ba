"""Losses and gradients that are not finite: skipped, counted, rolled back, stopped."""
from dataclasses import replace

import pytest
import torch

from dtbox.config import load_config
from dtbox.errors import Diverged, InputError
from dtbox.training import checkpoint
from dtbox.training.runner import Runner

OPTIONS = {'train_cfg.max_iters': 8, 'train_cfg.tolerate': 2, 'val_dataloader': None, 'gan': None,
           'hooks': dict(_delete_=True, log=dict(type='Log', interval=1),
                         checkpoint=dict(type='Checkpoint', interval=2))}


def run(config, folder, poison, **options):
    """Train; `poison(model, iteration, batch)` is called before each step and may change either."""
    runner = Runner.from_config(load_config(config, {**OPTIONS, **options}), work_dir=str(folder))
    step, seen = runner.model.train_step, []

    def poisoned(data, optim_wrapper):
        seen.append(int(runner.model.iteration))
        return step(poison(runner.model, seen[-1], data) or data, optim_wrapper)
    runner.model.train_step = poisoned
    runner.train()
    return seen


def log_of(folder):
    return (folder / next(p for p in folder.rglob('*.log'))).read_text()


def finite(folder):
    state = checkpoint.load(folder)
    return state['iteration'], all(torch.isfinite(v).all() for v in state['state_dict'].values()
                                   if v.is_floating_point())


def broken_pictures(*iterations):
    def poison(model, iteration, batch):
        if iteration in iterations:
            return replace(batch, images=torch.full(batch.images.shape, float('nan')))
    return poison


def test_skipped_and_kept(tiny_config, tmp_path):
    seen = run(tiny_config, tmp_path / 'run', broken_pictures(2, 3, 6))
    assert seen == list(range(8)) and finite(tmp_path / 'run') == (8, True)
    files = sorted(p.name for p in (tmp_path / 'run' / 'nonfinite').iterdir())
    assert files == [f'iteration_{i + 1:08d}_rank_0.pt' for i in (2, 3, 6)]
    kept = torch.load(tmp_path / 'run' / 'nonfinite' / files[0], weights_only=True)
    # as the data gave them
    assert len(kept['keys']) == len(kept['images']) == 4 and kept['images'].dtype == torch.uint8
    log = log_of(tmp_path / 'run')
    assert 'iteration 4 is skipped (2 in a row, 2 in all)' in log
    assert 'iteration 7 is skipped (1 in a row, 3 in all)' in log
    assert 'rollback' not in log


def test_rolled_back_once_weights_are_gone(tiny_config, tmp_path):
    """After iteration 4 the weights are NaN: two iterations are skipped, the third brings the checkpoint back, and the
    run ends well."""
    def poison(model, iteration, batch):
        if iteration == 4:
            with torch.no_grad():
                model.tokenizer.decoder.last_layer.fill_(float('nan'))
    seen = run(tiny_config, tmp_path / 'run', poison)
    assert seen == list(range(8)) and finite(tmp_path / 'run') == (8, True)
    log = log_of(tmp_path / 'run')
    assert 'iteration 7: ' in log
    assert 'That was 3 in a row: weights and optimizers go back to' in log
    assert 'rollback 1 of 2' in log


def test_stops_when_nothing_helps(tiny_config, tmp_path):
    with pytest.raises(Diverged, match=r'at iteration 11, .*The last good state is .*checkpoint.pth'):
        run(tiny_config, tmp_path / 'run', broken_pictures(*range(2, 40)), **{'train_cfg.max_iters': 40})
    assert finite(tmp_path / 'run') == (2, True)
    with pytest.raises(Diverged, match='at iteration 3, .*There is no checkpoint yet'):  # nothing to go back to
        run(tiny_config, tmp_path / 'new', broken_pictures(*range(0, 40)))
    with pytest.raises(Diverged, match='at iteration 3, '):
        run(tiny_config, tmp_path / 'strict', broken_pictures(2), **{'train_cfg.tolerate': 0})
    assert not (tmp_path / 'strict' / 'nonfinite').exists()
    with pytest.raises(InputError, match='`tolerate` is -1'):
        run(tiny_config, tmp_path / 'wrong', broken_pictures(), **{'train_cfg.tolerate': -1})


def test_gradients_that_are_not_finite(tiny_config, tmp_path):
    """The loss is fine, its gradient is not: nothing is updated."""
    def poison(model, iteration, batch):
        if iteration == 3:
            handle = model.tokenizer.decoder.last_layer.register_hook(lambda g: (handle.remove(), g * float('inf'))[1])
    run(tiny_config, tmp_path / 'run', poison)
    assert 'iteration 4 is skipped (1 in a row, 1 in all): the gradients of' in log_of(tmp_path / 'run')
    assert finite(tmp_path / 'run') == (8, True)


def test_codes_of_a_skipped_step_are_discarded(tiny_config, tmp_path):
    """Gradients of iteration 2 are NaN after the codebooks have collected: neither of them learns from that step."""
    tables, pending = {}, []

    def poison(model, iteration, batch):
        pending.extend(codes for part in model.modules() for codes in getattr(part, 'pending', ()))
        tables[iteration] = {k: v.clone() for k, v in model.state_dict().items() if 'codebooks' in k}
        if iteration == 2:
            weight = next(p for p in model.tokenizer.decoder.parameters() if p.requires_grad)
            handle = weight.register_hook(lambda grad: handle.remove() or grad * float('nan'))
    run(tiny_config, tmp_path / 'run', poison, **{'train_cfg.max_iters': 5})
    assert 'iteration 3 is skipped' in log_of(tmp_path / 'run')
    moved = [any(not torch.equal(v, tables[i + 1][k]) for k, v in tables[i].items()) for i in range(4)]
    assert moved == [True, True, False, True]
    updates = {k: [int(tables[i][k]) for i in range(5)] for k in tables[0] if k.endswith('updates')}
    assert updates and all(count == [0, 1, 2, 2, 3] for count in updates.values())
    assert not pending  # nor from the next one
