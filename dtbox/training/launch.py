"""How the ranks of a run join each other: torchrun and Slurm, with GPUs or without; missing and lost ranks."""
from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import subprocess
import threading
import time
from datetime import timedelta
from typing import Mapping

import torch
import torch.distributed as dist

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.errors import InputError, RankLost, at, reason
from dtbox.processes import check_number, end_with_parent

TIMEOUT = 1800
"""Seconds that ranks wait for each other, at the start and in every collective. A rank that dies is also noticed by
what has started the ranks: torchrun and Slurm (`srun --kill-on-bad-exit=1`) end the others."""
LONGER = 'Wait longer or shorter: --cfg-options rank_timeout=SECONDS.'
ANSWER = 20
"""Seconds in which PyTorch's store, which rank 0 holds, answers a new client."""
VARIABLES = dict(
    pytorch=('WORLD_SIZE', 'RANK', 'LOCAL_RANK'), slurm=('SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID'),
    mpi=('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'))
"""Launcher -> environment variables: number of ranks, of this rank, and of this rank on its node."""
LOST = ('connection closed by peer', 'connection reset', 'broken pipe', 'timed out waiting', 'socket closed',
        'connection refused', 'recv failed', 'remote process exited', 'watchdog', 'heartbeat',
        'nccl communicator was aborted')
"""What backends say when another rank is gone."""


def start_ranks(launcher: str, timeout: float | None = None) -> None:
    """Join the process group that a launcher has started; nothing to do for 'none'.

    Ranks with a GPU each talk over NCCL, without GPUs over gloo. Ranks of torchrun end when torchrun ends, also when it
    is killed.

    Args:
        launcher: 'none'; 'pytorch' (torchrun); 'slurm' (srun); 'mpi', left to MMEngine.
        timeout: seconds to wait for the others (`rank_timeout` of the config); None is TIMEOUT.

    Raises:
        InputError: not started by that launcher, or ranks that have not come in time.
    """
    check_number(os.environ, 'LOCAL_RANK', default='0')  # MMEngine reads it, whether there are ranks or not
    if launcher == 'none' or distributed.is_initialized():
        return
    timeout = TIMEOUT if timeout is None else timeout
    if launcher == 'mpi':
        _start_mpi(timeout)
        return
    if launcher == 'slurm':
        os.environ.update(read_slurm_environment(os.environ))
    elif 'RANK' not in os.environ:
        raise InputError('--launcher pytorch is for processes that torchrun has started, and the variable RANK is not '
                         'set. Start it as: torchrun --nproc_per_node N -m dtbox train CONFIG --launcher pytorch.',
                         '--launcher')
    check_environment(os.environ, launcher)
    if 'TORCHELASTIC_RUN_ID' in os.environ:  # started by torchrun itself, not by a shell that may end before its ranks
        end_with_parent()
    _join_group(timeout)


def _start_mpi(timeout: float) -> None:
    if not torch.cuda.is_available():
        raise InputError('`mpi` starts ranks that have a GPU each, and there is none here. Start ranks on CPUs with '
                         'torchrun and --launcher pytorch.', '--launcher')
    os.environ.setdefault('MASTER_PORT', '29500')
    check_environment(os.environ, 'mpi')
    from mmengine.dist import init_dist
    init_dist('mpi', backend='nccl', timeout=int(timeout))


def check_environment(env: Mapping[str, str], launcher: str) -> None:
    """Raise `InputError` where a variable that says which rank this is, or where rank 0 listens, is missing or says
    something else: ranks would wait for each other to no end.

    Args:
        env: environment variables.
        launcher: whose variables tell: 'pytorch', 'slurm' or 'mpi'.
    """
    size, rank, local = VARIABLES[launcher]
    with at('--launcher'):
        check_number(env, size, 1)
        check_number(env, rank, 0, int(env[size]) - 1)
        check_number(env, local, default='0')
        check_number(env, 'MASTER_PORT', 1, 65535)
    if not env.get('MASTER_ADDR'):
        raise InputError('the variable MASTER_ADDR is empty or not set; expected the host of rank 0. torchrun and srun '
                         'set it.', '--launcher')


def _join_group(timeout: float) -> None:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    local = int(os.environ.get('LOCAL_RANK', 0))
    if gpus:
        if local >= gpus:
            raise InputError(f'this is rank {local + 1} of its node, which has {format_count(gpus, "GPU")}. Start one '
                             'rank a GPU (--nproc_per_node, --ntasks-per-node).', '--launcher')
        torch.cuda.set_device(local)
    if os.environ.get('RANK', '0') != '0' and 'TORCHELASTIC_USE_AGENT_STORE' not in os.environ:
        find_first_rank(os.environ, timeout)
    try:
        dist.init_process_group('nccl' if gpus else 'gloo', timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as e:  # DistStoreError and DistNetworkError are RuntimeErrors
        if 'EADDRINUSE' in str(e):
            raise _make_port_error(os.environ, 'and rank 0 cannot open it') from e
        raise InputError(f'rank {os.environ.get("RANK")} waited {timeout:g} seconds for {os.environ.get("WORLD_SIZE")} '
                         f'ranks at {os.environ.get("MASTER_ADDR")}:{os.environ.get("MASTER_PORT")}, and not all came '
                         f'({count_joined(e)}). Start the missing ones, with the same address, port and number; '
                         f'firewalls between nodes may be in the way. {LONGER}', '--launcher') from e


def find_first_rank(env: Mapping[str, str], timeout: float) -> None:
    """Wait until rank 0 listens at MASTER_ADDR:MASTER_PORT, and check that it is rank 0 of this run: a client of
    PyTorch's store waits without end for an answer of another program.

    Args:
        env: environment variables.
        timeout: seconds to wait for rank 0.

    Raises:
        InputError: nobody listens there in time; another program, or another run, listens there, or holds the port of
            this machine without listening.
    """
    host, port = env.get('MASTER_ADDR', ''), env.get('MASTER_PORT', '')
    deadline = time.monotonic() + timeout
    while not _listens(host, port):
        if time.monotonic() > deadline:
            raise InputError(f'rank {env.get("RANK")} waited {timeout:g} seconds for rank 0 at {host}:{port}, where '
                             'nothing listens: rank 0 has not started, or has ended before, and its own message tells '
                             'why. Start all ranks anew, with the same address and port; firewalls between nodes may '
                             f'be in the way. {LONGER}', '--launcher')
        if _is_held(host, port) and not _listens(host, port):
            raise _make_port_error(env, 'and does not listen, so that rank 0 cannot open it')
        time.sleep(0.1)
    stores: list[dist.Store] = []

    def connect():
        with contextlib.suppress(RuntimeError):
            stores.append(dist.TCPStore(host, int(port), is_master=False, wait_for_workers=False,
                                        timeout=timedelta(seconds=ANSWER)))
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(ANSWER)
    if not stores:
        raise _make_port_error(env, 'and does not answer as rank 0 does')
    ranks, own = env.get('WORLD_SIZE', ''), env.get('RANK', '')
    if stores[0].compare_set('dtbox/ranks', '', ranks).decode() != ranks or stores[0].add(f'dtbox/rank/{own}', 1) > 1:
        raise _make_port_error(env, f'which has a rank {own} or another number of ranks')


def _listens(host: str, port: str) -> bool:
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError):
        return False
    return True


def _is_held(host: str, port: str) -> bool:
    """Return whether `host` is this machine and its port cannot be opened. Rank 0 may open it meanwhile: sockets that
    may share an address (SO_REUSEADDR, as PyTorch's) disturb each other only once they listen."""
    with socket.socket() as own, socket.socket() as probe:
        try:
            own.bind((host, 0))
        except OSError:  # another machine
            return False
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', int(port)))
        except OSError as e:
            return e.errno == errno.EADDRINUSE
    return False


def _make_port_error(env: Mapping[str, str], why: str) -> InputError:
    return InputError(f'another program or another run uses {env.get("MASTER_ADDR")}:{env.get("MASTER_PORT")} '
                      f'already, {why}. Give all ranks another MASTER_PORT.', '--launcher')


def count_joined(error: Exception) -> str:
    """Return how many ranks came, where an error of PyTorch's store tells; its first line otherwise."""
    counts = re.search(r'(\d+)/(\d+) clients joined', str(error))
    return f'{counts[1]} of {counts[2]} did' if counts else reason(error)


def read_slurm_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT of a process that srun has started.

    Args:
        env: environment variables. MASTER_ADDR and MASTER_PORT are kept where they are set; otherwise the first node of
            the job, and a port that follows from the job's number.

    Raises:
        InputError: not a process of srun, or the node list cannot be read.
    """
    missing = [k for k in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_JOB_ID') if k not in env]
    if missing:
        names = f'{", ".join(missing)} {"are" if missing[1:] else "is"}'
        raise InputError(f'--launcher slurm is for processes that srun has started, and {names} not set. Start it as: '
                         'srun --ntasks-per-node GPUS --gpus-per-node GPUS python -m dtbox train CONFIG --launcher '
                         'slurm.', '--launcher')
    with at('--launcher'):
        check_number(env, 'SLURM_JOB_ID')
    nodes = env.get('SLURM_STEP_NODELIST') or env.get('SLURM_JOB_NODELIST') or ''
    address = env.get('MASTER_ADDR') or find_first_node(nodes)
    port = env.get('MASTER_PORT') or str(20000 + int(env['SLURM_JOB_ID']) % 20000)
    return dict(RANK=env['SLURM_PROCID'], WORLD_SIZE=env['SLURM_NTASKS'], LOCAL_RANK=env['SLURM_LOCALID'],
                MASTER_ADDR=address, MASTER_PORT=port)


def find_first_node(nodes: str) -> str:
    """Return the first host of a Slurm node list such as `gpu[003-006,010]`, by scontrol where it is there."""
    try:
        done = subprocess.run(['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True)
        return done.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        match = re.match(r'([^\[,]+)(?:\[(\d+))?', nodes)
        if not match:
            raise InputError(f'the node list {nodes!r} of Slurm names no host. Set MASTER_ADDR and MASTER_PORT.',
                             '--launcher') from None
        return match[1] + (match[2] or '')


def explain_lost_rank(error: BaseException) -> RankLost | None:
    """Return the RankLost that an exception of a backend stands for, or None where it is something else."""
    text = str(error).lower()
    if not distributed.is_initialized() or not isinstance(error, RuntimeError):
        return None
    if isinstance(error, dist.DistError) or any(words in text for words in LOST):
        return RankLost('another rank of this run has ended or does not answer; its own message tells why '
                        f'({reason(error, 120)}).')
    return None
