"""A training on shards that is killed in mid-epoch and resumed sees every sample of each epoch exactly once."""
import json
import os
import socket
import time
from collections import Counter

import pytest

from tests.child_processes import fork_child
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
    """Append [iteration, keys] to a file for each rank; in an iteration that WAIT_AT names, wait to be killed."""

    def __init__(self, folder):
        self.folder = folder

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Write a line."""
        with open(os.path.join(self.folder, f'{get_rank()}.jsonl'), 'a') as f:
            f.write(json.dumps([batch_idx, data_batch.keys]) + '\\n')
        if str(batch_idx) == os.environ.get('WAIT_AT'):
            time.sleep(300)
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


def start(config, folder, ranks, workers, *more, **variables):
    """Start the ranks of a run with the variables that torchrun gives them, and with these; returns them."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    shards = config.parent / 'shards'
    command = ['tools/train.py', config, '--data', 'configs/_base_/datasets/cc12m.py', '--work-dir', folder,
               '--launcher', 'pytorch' if ranks > 1 else 'none', *more, '--cfg-options', f'shards={shards}',
               f'heldout={shards}', f'batch_size={SAMPLES // 5 // ranks}', f'num_workers={workers}']
    env = dict(os.environ, OMP_NUM_THREADS='1', WORLD_SIZE=str(ranks), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
               GLOO_SOCKET_IFNAME='lo', **variables)
    with open(folder.parent / 'output.txt', 'a') as out:
        return [fork_child(command, dict(env, RANK=str(rank), LOCAL_RANK=str(rank)), stdout=out, stderr=out)
                for rank in range(ranks)]


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
    children = start(config, run, ranks, before, WAIT_AT='13')
    while children[0].poll() is None and min(len(rows(seen, rank)) for rank in range(ranks)) < 14:
        time.sleep(0.01)
    for child in children:
        child.kill()
    assert [child.wait() for child in children] == [-9] * ranks
    killed = [rows(seen, rank) for rank in range(ranks)]
    for rank in range(ranks):
        (seen / f'{rank}.jsonl').unlink(missing_ok=True)
    ends = [child.wait() for child in start(config, run, ranks, after, '--resume')]
    assert ends == [0] * ranks, (tmp_path / 'output.txt').read_text()
    resumed = [rows(seen, rank) for rank in range(ranks)]
    at = resumed[0][0][0]
    assert at == 12 and len(killed[0]) == 14, 'resumed within the third epoch, before the iteration of the kill'
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
