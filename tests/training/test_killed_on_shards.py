"""A training on shards that is killed in mid-epoch and resumed sees every sample of each epoch exactly once."""
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.child_processes import start_child
from tests.shard_data import write_set

COUNTS = (7, 8, 5)
SAMPLES = 20
EPOCHS = 4
PLUGIN = '''"""Writes down which samples a rank is given, iteration by iteration."""
import json
import os
import time

from dtbox.distributed import get_rank
from mmengine.hooks import Hook

from dtbox.registry import HOOKS


@HOOKS.register_module()
class KeysSeen(Hook):
    """Append [iteration, keys] to a file for each rank; slow, so that there is time to be killed."""

    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, f'{get_rank()}.pid'), 'w') as f:
            f.write(str(os.getpid()))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Write a line."""
        with open(os.path.join(self.folder, f'{get_rank()}.jsonl'), 'a') as f:
            f.write(json.dumps([batch_idx, data_batch.keys]) + '\\n')
        time.sleep(0.1)
'''
CONFIG = '''
_base_ = {base!r}
plugins = [{plugin!r}]
train_cfg = dict(max_iters={iterations})
hooks = dict(_delete_=True, log=dict(type='Log', interval=1), checkpoint=dict(type='Checkpoint', interval=3),
             keys_seen=dict(type='KeysSeen', folder={seen!r}))
'''


def rows(folder, rank):
    """[(iteration, keys)] that a rank has written; a last line that a kill cut short is left out."""
    path = folder / f'{rank}.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith(']]')] if path.exists() else []


def start(config, folder, ranks, workers, *more):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    launch = ['-m', 'torch.distributed.run', '--nproc_per_node', str(ranks), '--master_port',
              str(port)] if ranks > 1 else []
    shards = config.parent / 'shards'
    command = [sys.executable, *launch, 'tools/train.py', str(config), '--data', 'configs/_base_/datasets/cc12m.py',
               '--work-dir', str(folder), *(['--launcher', 'pytorch'] if launch else []), *more, '--cfg-options',
               f'shards={shards}', f'heldout={shards}', f'batch_size={SAMPLES // 5 // ranks}', f'num_workers={workers}']
    with open(folder.parent / 'output.txt', 'a') as out:
        return start_child(command, env=dict(os.environ, PYTHONPATH=str(Path.cwd()), OMP_NUM_THREADS='1'), stdout=out,
                           stderr=out)


@pytest.mark.parametrize('ranks, before, after', [(1, 2, 4), (2, 4, 1)])
def test_the_samples_of_each_epoch_are_the_data_set(tiny_config, tmp_path, ranks, before, after):
    """All processes get SIGKILL in the third epoch; the run goes on with another number of workers."""
    seen, run = tmp_path / 'seen', tmp_path / 'run'
    seen.mkdir()
    (tmp_path / 'keys_seen.py').write_text(PLUGIN)
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(base=str(tiny_config), plugin=str(tmp_path / 'keys_seen.py'), iterations=5
                                    * EPOCHS, seen=str(seen)))
    write_set(tmp_path / 'shards', COUNTS)
    process = start(config, run, ranks, before)
    # the first may be busy with the checkpoint
    while process.poll() is None and min(len(rows(seen, rank)) for rank in range(ranks)) < 14:
        time.sleep(0.01)
    # torchrun's ranks outlive torchrun
    for pid in [process.pid, *(int(path.read_text()) for path in seen.glob('*.pid'))]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    killed = [rows(seen, rank) for rank in range(ranks)]
    for rank in range(ranks):
        (seen / f'{rank}.jsonl').unlink(missing_ok=True)
    assert start(config, run, ranks, after, '--resume').wait() == 0, (tmp_path / 'output.txt').read_text()
    resumed = [rows(seen, rank) for rank in range(ranks)]
    at = resumed[0][0][0]
    assert 10 < at < len(killed[0]) < 20, 'resumed within the third epoch, before the iteration of the kill'
    kept = {(rank, iteration): keys for rank in range(ranks) for iteration, keys in killed[rank] if iteration < at}
    kept.update({(rank, iteration): keys for rank in range(ranks) for iteration, keys in resumed[rank]})
    assert len(kept) == sum(i < at for r in killed for i, _ in r) + sum(map(len, resumed)) == 20 * ranks
    stream = [key for iteration in range(20) for rank in range(ranks) for key in kept[rank, iteration]]
    names = {f's-{s}/{n:06d}' for s, numbers in enumerate((range(7), range(7, 15), range(15, 20))) for n in numbers}
    for epoch in range(EPOCHS):
        assert Counter(stream[epoch * SAMPLES:(epoch + 1) * SAMPLES]) == Counter(names)
    again = [pair for rank in range(ranks) for pair in killed[rank] if pair[0] >= at]
    assert again and all(kept[rank, i] == keys for rank in range(ranks) for i, keys in killed[rank]
                         if i >= at), 'the same batches again'
