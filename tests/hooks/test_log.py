"""What history.jsonl says."""
import pytest

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
