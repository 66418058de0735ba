"""What history.jsonl, the log file and the screen say."""
import io
import logging
import types

import pytest

from dtbox.hooks.log import Log
from dtbox.rows import read_rows
from tests.tiny_run import train


def test_terms_that_begin_within_an_interval(tiny_run, tiny_config, tmp_path):
    hooks = dict(_delete_=True, log=dict(type='Log', interval=1))
    train(tiny_config, tmp_path / 'each', hooks=hooks, val_dataloader=None, gan__adversarial__start=3)
    hooks = dict(_delete_=True, log=dict(type='Log', interval=5))
    train(tiny_config, tmp_path / 'five', hooks=hooks, val_dataloader=None, gan__adversarial__start=3)
    each, five = read_rows(tmp_path / 'each' / 'history.jsonl'), read_rows(tmp_path / 'five' / 'history.jsonl')
    assert [r['iteration'] for r in each] == [1, 2, 3, 4, 5, 6] and [r['iteration'] for r in five] == [5, 6]
    for name in ('l2', 'discriminator', 'total'):
        values = [r[name] for r in each[:5] if name in r]
        assert five[0][name] == pytest.approx(sum(values) / len(values), abs=1e-6) and len(values) == (
            2 if name == 'discriminator' else 5
        )


def test_learning_rate_is_that_of_the_iteration(tiny_run):
    rows = read_rows(tiny_run / 'history.jsonl')
    # cosine of 6, iterations 1, 3 and 5
    assert [r['generator_lr'] for r in rows] == pytest.approx([9.3301e-4, 5e-4, 6.699e-5], rel=1e-4)


class Console(logging.StreamHandler):
    """Not the console itself: a handler of another class, as that of a log file is."""


def test_the_screen_has_the_terms_of_show(tmp_path):
    """The log file has all terms, as history.jsonl has."""
    screen, file = io.StringIO(), io.StringIO()
    logger = logging.Logger('run')
    logger.addHandler(logging.StreamHandler(screen))
    logger.addHandler(Console(file))
    hook, task = Log(interval=1, show=('text', 'pixel')), types.SimpleNamespace(batch_weight=1.0)
    optim = types.SimpleNamespace(get_lr=lambda: {'model.lr': [1e-3]})
    runner = types.SimpleNamespace(
        work_dir=str(tmp_path), iter_done=0, max_iters=2, task=task, logger=logger, optim_wrapper=optim,
        visualizer=types.SimpleNamespace(add_scalars=lambda *args, **kwargs: None))
    hook.before_train(runner)
    runner.iter_done = 1
    hook.after_train_iter(runner, 0, outputs=dict(text=1.0, pixel=2.0, pixel_1=3.0, total=6.0))
    assert screen.getvalue().split('lr ')[1] == '1.00e-03  text 1  pixel 2\n'
    assert file.getvalue().split('lr ')[1] == '1.00e-03  text 1  pixel 2  pixel_1 3  total 6\n'
    assert read_rows(tmp_path / 'history.jsonl')[0]['pixel_1'] == 3.0
