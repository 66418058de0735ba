"""The group of ranks: results, errors, deaths and silence."""
import os
import time

import pytest
import torch
import torch.distributed as dist

from dtbox.registry import QUANTIZERS
from dtbox.testing import RankError, check_quantizer, run_checks
from dtbox.testing.rank_group import SHARED, Ranks


def job(rank, world, what, value):
    """Do one of the things that can happen to a rank; the others wait for it in a sum."""
    if rank == world - 1:
        if what == 'raise':
            raise ValueError('rank one has enough')
        if what == 'sleep':
            time.sleep(60)
    total = torch.tensor([float(rank + 1)])
    dist.all_reduce(total)
    return dict(rank=rank, world=world, total=total, value=value, pid=os.getpid())


def test_results_come_in_the_order_of_ranks_from_one_group():
    first, second = SHARED.run(job, 'sum', torch.ones(2)), SHARED.run(job, 'sum', 'text')
    assert [(r['rank'], r['world'], r['total'].item()) for r in first] == [(0, 2, 3.0), (1, 2, 3.0)]
    assert torch.equal(first[1]['value'], torch.ones(2)) and second[1]['value'] == 'text'
    assert [r['pid'] for r in first] == [r['pid'] for r in second] and os.getpid() not in [r['pid'] for r in first]


PLUGIN = '''
from dtbox.quantizers.vq import VQ
from dtbox.registry import QUANTIZERS


@QUANTIZERS.register_module()
class VQOfAPlugin(VQ):
    def commit(self):
        import torch.distributed as dist
        if dist.is_initialized() and dist.get_rank() == 1 and self.codebook.size == 5:
            raise SystemExit(7)
        super().commit()
'''


@pytest.fixture
def plugin(tmp_path):
    """File of a plugin whose quantizer ends the process of rank 1 where it has five codes."""
    (tmp_path / 'own.py').write_text(PLUGIN)
    yield str(tmp_path / 'own.py')
    QUANTIZERS.module_dict.pop('VQOfAPlugin', None)


def test_plugins_and_deaths(plugin):
    """Ranks load the plugins; a dead one is a failure of the check."""
    check_quantizer(dict(type='VQOfAPlugin', size=8, dim=2), plugins=plugin, only=['two_ranks', 'sizes'])
    before = list(SHARED.processes)
    [dead] = run_checks(dict(type='VQOfAPlugin', size=5, dim=2), plugins=[plugin], only=['two_ranks'])
    assert dead.status == 'fails' and 'rank 1 died with exit code 7' in dead.detail and not any(p.is_alive()
                                                                                                for p in before)


def test_one_rank_raises_while_the_other_waits():
    begin, before = time.monotonic(), list(SHARED.processes)
    with pytest.raises(RankError, match=r'rank 1 raised ValueError in test_rank_group.py:\d+: rank one has enough'):
        SHARED.run(job, 'raise', 0)
    assert time.monotonic() - begin < 60 and not any(p.is_alive() for p in before) and SHARED.processes == []


def test_ranks_killed_from_outside_and_silent_ones():
    """The dead are replaced at the next job; a job that takes too long ends, and so does its rank."""
    with Ranks(world=1) as ranks:
        first = ranks.run(job, 'sum', 0)[0]
        ranks.processes[0].kill()
        ranks.processes[0].join()
        again = ranks.run(job, 'sum', 0)[0]
        assert first['total'].item() == again['total'].item() == 1.0 and first['pid'] != again['pid']
        [process] = ranks.processes
        ranks.timeout = 0.5
        begin = time.monotonic()
        with pytest.raises(RankError, match=r'of 1 rank, \[0\] did not answer within 0.5 seconds'):
            ranks.run(job, 'sleep', 0)
        assert time.monotonic() - begin < 20 and not process.is_alive() and ranks.processes == []
