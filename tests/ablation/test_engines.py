"""Engines: what they make of cores, GPUs, processes that end and clusters that fail. test_trials.py runs real trials on
both."""
import errno
import os
import sys
from types import SimpleNamespace

import pytest

from dtbox.ablation import machine
from dtbox.ablation.engines import local as locals_
from dtbox.ablation.engines import make_engine
from dtbox.ablation.engines import ray as rays
from dtbox.ablation.engines.process import build_command, build_environment
from dtbox.ablation.trial import NO_ROOM
from dtbox.errors import InputError


def test_no_such_engine_and_no_ray(monkeypatch):
    with pytest.raises(InputError, match='no engine `slurm`'):
        make_engine('slurm', 1)
    with pytest.raises(InputError, match='`workers` is 0'):
        make_engine('local', 1, 0)
    with pytest.raises(InputError, match='--engine ray'):
        make_engine('local', 1, address='auto')
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(InputError, match=r'pip install "dtbox\[ray\]"'):
        make_engine('ray', 1)


@pytest.mark.parametrize('quota, cores', [
     ('150000 100000', 1), ('300000 100000', 3), ('50000 100000', 1), ('max 100000', 8), (None, 8)])
def test_cores_of_a_container(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)), raising=False)
    if quota:
        (tmp_path / 'cpu.max').write_text(quota + '\n')
    assert machine.count_cores(str(tmp_path / 'cpu.max')) == cores


def test_workers_fill_the_cores(monkeypatch):
    monkeypatch.setattr(locals_, 'count_cores', lambda: 8)
    monkeypatch.setattr(locals_, 'list_visible_gpus', lambda: [])
    assert [make_engine('local', threads).workers for threads in (1, 3, 16)] == [8, 2, 1]
    assert make_engine('local', 4, 2).remark == '' and '3 workers of 4 threads use 8 cores' in make_engine('local',
                                                                                                               4,
                                                                                                               3).remark


@pytest.mark.parametrize('named, count, gpus', [
    (None, 2, ['0', '1']), ('', 0, []), ('3, 1', 2, ['3', '1']), ('0,7', 1, ['0']), ('GPU-a', 1, ['GPU-a'])])
def test_gpus(monkeypatch, named, count, gpus):
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: count > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if named is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', named)
    assert locals_.list_visible_gpus() == gpus


def test_each_worker_has_its_gpu(monkeypatch, tmp_path):
    devices, codes = [], iter([None, 0, None])
    monkeypatch.setattr(locals_, 'list_visible_gpus', lambda: ['4', '6'])
    monkeypatch.setattr(locals_.subprocess, 'Popen', lambda *a, env, **k: devices.append(env['CUDA_VISIBLE_DEVICES'])
                        or SimpleNamespace(
        poll=lambda: next(codes)))
    engine = make_engine('local', 1)
    first, second = engine.start(tmp_path), engine.start(tmp_path)
    assert engine.workers == 2 and first.has_begun() and (first.poll(), second.poll()) == (None, 0)
    engine.start(tmp_path)
    assert devices == ['4', '6', '6'] and (tmp_path / 'log.txt').exists()


def test_the_process_of_a_trial(monkeypatch):
    assert build_command('somewhere')[-2:] == ['somewhere', str(os.getpid())]
    monkeypatch.setenv('OMP_NUM_THREADS', '64')
    env = build_environment(3, '1')
    assert (env['OMP_NUM_THREADS'], env['MKL_NUM_THREADS'], env['CUDA_VISIBLE_DEVICES']) == ('3', '3', '1')


# ---- Ray, without one ------------------------------------------------------------------------------------------------


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__('a long traceback')
        self.cause = cause


class FakeRay:
    """As much of the package as the engine uses; `result` is what a task gives or raises."""
    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    result, resources = None, dict(CPU=8.0)

    def __init__(self):
        self.inits = []
        self.tasks = []
        self.closed = 0

    def is_initialized(self):
        return False

    def init(self, **options):
        self.inits.append(options)

    def shutdown(self):
        self.closed += 1

    def cluster_resources(self):
        return self.resources

    def remote(self, function):
        return SimpleNamespace(options=lambda **o: SimpleNamespace(remote=lambda *a: self.tasks.append((o, a))
                                                                   or len(self.tasks)))

    def wait(self, refs, timeout):
        return (refs, []) if self.result is not None else ([], refs)

    def get(self, ref):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def ray(monkeypatch, tmp_path):
    fake = FakeRay()
    monkeypatch.setattr(rays, 'need_package', lambda *a: fake)
    monkeypatch.setenv('RAY_TMPDIR', str(tmp_path))
    for name in ('RAY_ADDRESS', 'RAY_worker_niceness', 'RAY_USAGE_STATS_ENABLED'):
        monkeypatch.setenv(name, 'x')  # to be put back
        monkeypatch.delenv(name)
    return fake


def test_without_an_address_ray_is_started_here(ray, monkeypatch):
    """It would otherwise join whatever cluster was started on this machine last, and wait for ever where that is
    gone."""
    make_engine('ray', 1)
    assert ray.inits[0]['address'] == 'local' and ray.inits[0]['include_dashboard'] is False
    monkeypatch.setattr(rays, 'check_address', lambda address: None)
    monkeypatch.setenv('RAY_ADDRESS', 'there:1')
    make_engine('ray', 1)
    make_engine('ray', 1, address='elsewhere:1')
    assert [i['address'] for i in ray.inits[1:]] == ['there:1', 'elsewhere:1']


def test_a_cluster_that_is_gone(ray, tmp_path):
    (tmp_path / 'ray').mkdir()
    (tmp_path / 'ray' / 'ray_current_cluster').write_text('127.0.0.1:1\n')
    with pytest.raises(InputError, match='the Ray cluster at auto cannot be reached .*refused'):
        make_engine('ray', 1, address='auto')
    assert ray.inits == []


def test_resources_of_a_cluster(ray):
    assert make_engine('ray', 3).workers == 2 and make_engine('ray', 3, 7).workers == 7
    ray.resources = dict(CPU=8.0, GPU=3.0)
    engine = make_engine('ray', 3)
    engine.start('folder')
    assert engine.workers == 3 and ray.tasks[0] == (dict(num_cpus=3, num_gpus=1,
                                                         max_retries=0), (os.path.abspath('folder'), os.getcwd(), 3))
    ray.resources = dict(CPU=2.0)
    with pytest.raises(InputError, match='the Ray cluster has 2 CPUs, fewer than the 3 threads of one trial'):
        make_engine('ray', 3)
    assert ray.closed == 1


@pytest.mark.parametrize('result, code, why', [
     (0, 0, ''), (None, None, ''), (RayError('the node died'), -9, 'RayError: the node died'),
     (RayTaskError(FileNotFoundError('f is not there on this node')), 1,
      'FileNotFoundError: f is not there on this ' 'node'),
     (RayTaskError(OSError(errno.ENOSPC, 'No space left on device')), NO_ROOM,
      'OSError: [Errno 28] No space left on ' 'device')])
def test_how_a_task_ends(ray, tmp_path, result, code, why):
    trial = make_engine('ray', 1).start(str(tmp_path))
    ray.result = result
    assert (trial.poll(), trial.why) == (code, why)


def test_a_task_has_begun_when_its_log_grows(ray, tmp_path, monkeypatch):
    (tmp_path / 'log.txt').write_text('of an earlier attempt\n')
    trial = make_engine('ray', 1).start(str(tmp_path))
    assert not trial.has_begun()
    monkeypatch.setattr(rays, 'build_command',
                        lambda folder: [sys.executable, '-c', 'print("hello"); raise SystemExit(5)'])
    assert rays.run_process(str(tmp_path), str(tmp_path), 1) == 5 and trial.has_begun()
    assert (tmp_path / 'log.txt').read_text().splitlines()[0::2] == ['of an earlier attempt', 'hello']
    with pytest.raises(FileNotFoundError, match='file system that all nodes share'):
        rays.run_process(str(tmp_path / 'none'), str(tmp_path), 1)
