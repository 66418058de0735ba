"""Ranks join by torchrun's and Slurm's variables, say what is missing, and end with torchrun."""
import os
import signal
import socket
import sys
import time

import pytest
import torch

from dtbox.cli.plugins import VERB
from dtbox.errors import InputError
from dtbox.training.launch import (
    _is_held,
    explain_lost_rank,
    find_first_node,
    find_first_rank,
    read_slurm_environment,
    start_ranks,
)
from tests.child_processes import is_running, start_child

RANK = '''
import os, sys, time
from dtbox.training.launch import start_ranks
start_ranks('pytorch', 60)
with open(sys.argv[1] + '.part', 'w') as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + '.part', sys.argv[1])
while True:
    time.sleep(0.01)
'''


def test_launchers_say_what_they_need(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(InputError, match='torchrun --nproc_per_node'):
        start_ranks('pytorch')
    with pytest.raises(InputError, match='there is none here'):
        start_ranks('mpi')
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    with pytest.raises(InputError, match='SLURM_PROCID.* not set. Start it as: srun'):
        start_ranks('slurm')


def test_slurm():
    """The first node is the address, and the port follows from the job's number: 20000 + 1234567 % 20000."""
    env = dict(SLURM_PROCID='5', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_JOB_ID='1234567',
               SLURM_JOB_NODELIST='gpu[003-006,010]')
    assert read_slurm_environment(env) == dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='gpu003',
                                               MASTER_PORT='34567')
    assert read_slurm_environment(dict(env, MASTER_ADDR='10.0.0.1', MASTER_PORT='99'))['MASTER_ADDR'] == '10.0.0.1'


@pytest.mark.parametrize('nodes, first', [('one,two', 'one'), ('login', 'login'), ('gpu[003-006,010]', 'gpu003')])
def test_first_node(nodes, first):
    assert find_first_node(nodes) == first


def test_no_node():
    with pytest.raises(InputError, match='Set MASTER_ADDR'):
        find_first_node('')


def test_a_missing_rank(monkeypatch):
    """Nobody else comes: the error counts who did."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for name, value in dict(RANK=0, WORLD_SIZE=2, LOCAL_RANK=0, MASTER_ADDR='127.0.0.1', MASTER_PORT=port).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(InputError, match='rank 0 waited 2 seconds for 2 ranks .*1 of 2 did.*Start the missing ones'):
        start_ranks('pytorch', 2)


def test_rank_0_never_comes():
    """The others wait once, not twice, and say where, how long, and how to change it."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(InputError, match=f'rank 1 waited 0.3 seconds for rank 0 at 127.0.0.1:{port}, where nothing '
                                         'listens.*rank_timeout=SECONDS'):
        find_first_rank(place(port, 1), 0.3)
    assert time.monotonic() - begun < 10


def place(port, rank, ranks=2):
    """The variables of a rank."""
    return dict(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))


@pytest.mark.parametrize('rank, why', [(0, 'rank 0 cannot open it'), (1, 'does not answer as rank 0 does')])
def test_a_port_in_use(rank, why, monkeypatch):
    """Another program listens at the port and says nothing: every rank ends with a sentence, long before it has waited
    for the others."""
    monkeypatch.setattr('dtbox.training.launch.ANSWER', 0.3)
    with socket.create_server(('127.0.0.1', 0)) as taken:
        for name, value in place(taken.getsockname()[1], rank).items():
            monkeypatch.setenv(name, value)
        begun = time.monotonic()
        with pytest.raises(InputError, match=f'another program .* already, .*{why}. Give all ranks another MASTER_POR'):
            start_ranks('pytorch', 600)
        assert time.monotonic() - begun < 60


@pytest.mark.parametrize('rank', [0, 1])
def test_a_port_that_is_held_in_silence(rank, monkeypatch):
    """A program has bound it and does not listen: nobody answers, and rank 1 would wait for rank 0 to no end."""
    with socket.socket() as held:
        held.bind(('127.0.0.1', 0))
        for name, value in place(held.getsockname()[1], rank).items():
            monkeypatch.setenv(name, value)
        begun = time.monotonic()
        with pytest.raises(InputError, match=f'another program .*127.0.0.1:{held.getsockname()[1]} already'):
            start_ranks('pytorch', 600)
        assert time.monotonic() - begun < 60


def test_looking_at_a_port_leaves_it_free():
    """Rank 0 opens the port while the others look at it, and is not taken for a stranger before it listens."""
    with socket.socket() as looking:
        looking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        looking.bind(('127.0.0.1', 0))
        port = looking.getsockname()[1]
        assert not _is_held('127.0.0.1', str(port))
        torch.distributed.TCPStore('127.0.0.1', port, is_master=True, wait_for_workers=False)
    assert not _is_held('192.0.2.1', str(port))  # of another machine nothing is known


def test_the_port_of_another_run():
    """Its rank 0 answers: a second rank 1, or one of another number of ranks, is not of that run."""
    store = torch.distributed.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    find_first_rank(place(store.port, 1), 5)
    for other in (place(store.port, 1), place(store.port, 3, ranks=4)):
        with pytest.raises(InputError, match='which has a rank . or another number of ranks'):
            find_first_rank(other, 5)


def test_no_rank_is_lost_without_a_group():
    assert explain_lost_rank(RuntimeError('Connection closed by peer')) is None


@pytest.mark.skipif(sys.platform != 'linux', reason='looks at /proc')
def test_ranks_end_with_a_killed_torchrun(tmp_path):
    """torchrun is killed with SIGKILL, which it cannot pass on."""
    (tmp_path / 'rank.py').write_text(RANK)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '1',
               str(tmp_path / 'rank.py'), str(tmp_path / 'pid')]
    env = dict(os.environ, GLOO_SOCKET_IFNAME='lo', PYTHONPATH=os.pathsep.join(sys.path))
    with start_child(command, env=env) as torchrun:
        deadline = time.monotonic() + 90
        while not (tmp_path / 'pid').exists() and time.monotonic() < deadline and torchrun.poll() is None:
            time.sleep(0.05)
        torchrun.kill()
    rank = int((tmp_path / 'pid').read_text())
    deadline = time.monotonic() + 10
    while is_running(rank) and time.monotonic() < deadline:
        time.sleep(0.02)
    alive = is_running(rank)
    if alive:
        os.kill(rank, signal.SIGKILL)
    assert not alive


@pytest.mark.parametrize('name, value', [('RANK', '2'), ('RANK', 'x'), ('WORLD_SIZE', '0'), ('LOCAL_RANK', ''),
                                         ('MASTER_PORT', 'abc'), ('MASTER_PORT', '70000'), ('MASTER_ADDR', '')])
def test_variables_that_say_something_else(name, value, monkeypatch):
    """They are told at once; ranks would wait for each other for half an hour."""
    for key, one in {**place(29500, 1), name: value}.items():
        monkeypatch.setenv(key, one)
    with pytest.raises(InputError, match=f'variable {name} is'):
        start_ranks('pytorch', 5)


@pytest.mark.parametrize('value', ['z', '', '-1'])
def test_a_local_rank_of_nobody(value, monkeypatch, capsys):
    """MMEngine reads it also where a process is alone, and before most else: every verb tells it in one sentence."""
    monkeypatch.setenv('LOCAL_RANK', value)
    with pytest.raises(SystemExit) as left:
        VERB.main(['list'])
    assert left.value.code == 2 and f'the environment variable LOCAL_RANK is {value!r}' in capsys.readouterr().err
    with pytest.raises(InputError, match='unset LOCAL_RANK'):
        start_ranks('none')


@pytest.mark.parametrize('name', ['SIZE', 'RANK', 'LOCAL_RANK'])
def test_variables_of_mpirun(name, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setenv('MASTER_ADDR', 'host')
    for key in ('SIZE', 'RANK', 'LOCAL_RANK'):
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{key}', 'z' if key == name else '1' if key == 'SIZE' else '0')
    with pytest.raises(InputError, match=f"variable OMPI_COMM_WORLD_{name} is 'z'"):
        start_ranks('mpi')


def test_a_slurm_rank_without_a_number(monkeypatch):
    """The name of Slurm's variable is told, not of that which dtbox makes of it."""
    for key, value in dict(SLURM_PROCID='z', SLURM_NTASKS='2', SLURM_LOCALID='0', SLURM_JOB_ID='7', MASTER_ADDR='a',
                           MASTER_PORT='99', RANK='', WORLD_SIZE='', LOCAL_RANK='0').items():
        monkeypatch.setenv(key, value)
    with pytest.raises(InputError, match="variable SLURM_PROCID is 'z'"):
        start_ranks('slurm', 5)


def test_slurm_job_without_a_number():
    env = dict(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0', SLURM_JOB_ID='x', SLURM_JOB_NODELIST='a')
    with pytest.raises(InputError, match="SLURM_JOB_ID is 'x'"):
        read_slurm_environment(env)
