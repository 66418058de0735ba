"""Part `ranks`: a process group of one rank (NCCL on a GPU, gloo on a CPU): the collectives, and steps under DDP and
FSDP2 against those of a bare task.

One rank sends nothing over a wire, but runs every call that several ranks run.
"""
from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from dtbox import distributed
from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.results import Report, Skipped
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.registry import WRAPPERS

CLOSE = 1e-3
"""Of the terms of a few steps. The first are the same numbers; later ones depend on sums of gradients in another order,
which Adam scales up where a gradient is nearly 0."""
STEPS = 3


@contextlib.contextmanager
def join_alone(settings: Settings) -> Iterator[str]:
    """Within the block, this process is the one rank of a group; gives the name of the backend."""
    backend = 'nccl' if settings.gpu else 'gloo'
    if settings.gpu and not dist.is_nccl_available():
        raise Skipped('this PyTorch is built without NCCL')
    if not settings.gpu and os.path.isdir('/sys/class/net/lo'):  # a machine whose own name leads nowhere has this
        os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    with tempfile.TemporaryDirectory(prefix='dtbox_ranks_') as folder:
        more = dict(device_id=settings.device) if settings.gpu else {}
        dist.init_process_group(backend, init_method=f'file://{folder}/store', rank=0, world_size=1,
                                timeout=timedelta(seconds=60), **more)
        try:
            yield backend
        finally:
            dist.destroy_process_group()


def check(settings: Settings, report: Report) -> None:
    """Check the collectives, then both wrappers."""
    batch = settings.choose(8, 2)
    bare = models.train_steps(*models.build_task(settings), STEPS, batch)
    with join_alone(settings) as backend:
        value = torch.arange(6.0, device=settings.device)
        got = [distributed.sum_tensor(value), distributed.gather_tensor(value)[0],
               distributed.gather_objects(dict(value=value.tolist()))[0]['value']]
        distributed.broadcast_in_place(value)
        distributed.barrier()
        report.check(f'collectives over {backend}', all(list(map(float, one)) == list(range(6)) for one in got))
        for kind in ('DDP', 'FSDP2'):
            task, optim = models.build_task(settings)
            WRAPPERS.build(dict(type=kind)).wrap(task, optim)
            difference = models.compare_terms(models.train_steps(task, optim, STEPS, batch), bare)
            report.check(f'{STEPS} steps under {kind}', difference <= CLOSE,
                         'largest relative difference of the terms from a bare task', difference)
            del task, optim
