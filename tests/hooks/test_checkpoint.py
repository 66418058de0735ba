"""When a checkpoint is written."""
from types import SimpleNamespace

import pytest

from dtbox.hooks.checkpoint import Checkpoint


def list_writes(hook, iterations=12, val_interval=0, accumulating=(), skipped=()):
    """Return the iterations after which a hook writes, and those of which it keeps a copy."""
    written, copies = [], []

    def save(path=None):
        (copies if path else written).append(runner.iter_done)
    loop = SimpleNamespace(val_interval=val_interval)
    runner = SimpleNamespace(max_iters=iterations, train_loop=loop, work_dir='run', save=save)
    for done in range(1, iterations + 1):
        runner.iter_done, runner.accumulating = done, done in accumulating
        hook.after_train_iter(runner, done - 1, outputs={} if done in skipped else dict(loss=1))
    return written, copies


@pytest.mark.parametrize('options, ways, written, copies', [
    (dict(interval=5), {}, [5, 10, 12], []),
    (dict(interval=100), dict(val_interval=4), [4, 8, 12], []),
    (dict(interval=6), dict(val_interval=4), [4, 6, 8, 12], []),
    (dict(interval=6, keep_every=4), {}, [6, 12], [4, 8, 12]),
    (dict(interval=3), dict(accumulating=(3, 9)), [4, 6, 10, 12], []),
    (dict(interval=3), dict(skipped=(6,)), [3, 9, 12], []),
    (dict(interval=100), dict(accumulating=(12,)), [12], [])])
def test_it_is_written_when_due(options, ways, written, copies):
    """At its interval, before an evaluation and at the end; between updates, and not after a skipped iteration."""
    assert list_writes(Checkpoint(**options), **ways) == (written, copies)
