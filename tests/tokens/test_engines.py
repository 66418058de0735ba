"""Engines: how many workers they have, how a worker's end is told, what is said of a Ray that is not there."""
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dtbox.errors import InputError
from dtbox.token_shards.manifest import MANIFEST
from dtbox.tokens.encoder import Settings
from dtbox.tokens.engines import local, make_engine, messages
from dtbox.tokens.engines import ray as rays
from dtbox.tokens.engines.messages import BEGUN, DONE, FAILED, IMAGES, READY, STOP, Message, Reports, Start, work
from dtbox.tokens.run import Work
from dtbox.tokens.sources import SourceShard, find_source
from tests.shard_data import write_set
from tests.tokens.kit import hashes, run_encode

START = Start(Settings('run'), 'out', 'digest')


def test_no_such_engine_and_no_ray(monkeypatch):
    with pytest.raises(InputError, match='there is no engine `slurm`; choose local or ray'):
        make_engine('slurm', START)
    with pytest.raises(InputError, match='goes with --engine ray'):
        make_engine('local', START, address='auto')
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(InputError, match=r'pip install "dtbox\[ray\]"'):
        make_engine('ray', START)


def test_a_worker_a_core_or_gpu(monkeypatch):
    monkeypatch.setattr(local, 'count_cores', lambda: 4)
    monkeypatch.setattr(local, 'list_visible_gpus', lambda: ['3', '7'])
    assert make_engine('local', START).workers == 4
    assert '5 workers of one thread use 4 cores' in make_engine('local', START, 5).remark
    gpus = make_engine('local', Start(Settings('run', device='cuda'), 'out', 'digest'))
    devices = []
    monkeypatch.setattr(local, 'LocalWorker', lambda start, device: devices.append(device))
    for slot in range(3):
        gpus.start(slot)
    assert gpus.workers == 2 and gpus.remark == '' and devices == ['3', '7', '3']


@pytest.mark.parametrize('device, kept', [('cpu', [1]), ('cuda', [])])
def test_a_worker_keeps_freed_memory(encoder, monkeypatch, device, kept):
    """A tenth of the time on a CPU is the system's, which clears the pages of each batch again."""
    asked = []
    monkeypatch.setattr(messages, 'Encoder', lambda settings: encoder)
    monkeypatch.setattr(messages, 'keep_freed_memory', lambda: asked.append(1))
    messages.open_encoder(Start(Settings('run', device=device), 'out', encoder.fingerprint.digest))
    assert asked == kept


def run_script(code):
    """A LocalWorker whose process runs some code instead; `NUMBER` is that of its end of the pipe."""
    def launch(pipe, env):
        return subprocess.Popen([sys.executable, '-c', code.replace('NUMBER', str(pipe.fileno()))],
                                pass_fds=[pipe.fileno()], env=env)
    return launch


@pytest.mark.parametrize('code, why', [
    ('import os; os._exit(3)', 'its process ended with exit code 3'),
    (f'import os; os.kill(os.getpid(), {int(signal.SIGKILL)})', 'its process was ended by SIGKILL (out of memory?)'),
    (f'import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})', 'its process was ended by SIGSEGV'),
    ('import os; os.write(NUMBER, b"\\0\\0\\1\\0half")', 'its process ended with exit code 0')])
def test_how_a_worker_ended(monkeypatch, code, why):
    monkeypatch.setattr(local, 'launch', run_script(code))
    worker = local.LocalWorker(START)
    worker.process.wait()
    assert worker.receive() == [] and worker.why == why and worker.receive() == []
    worker.send(SourceShard('x'))  # nobody takes it
    worker.stop()


def test_one_thread_and_one_gpu_by_the_environment(monkeypatch):
    seen = []
    monkeypatch.setattr(local, 'launch', lambda pipe, env: seen.append(env) or SimpleNamespace(pid=1))
    local.LocalWorker(START, '5')
    assert seen[0]['OMP_NUM_THREADS'] == seen[0]['MKL_NUM_THREADS'] == '1' and seen[0]['CUDA_VISIBLE_DEVICES'] == '5'


class Shard(SourceShard):
    """An input shard that raises."""

    def __init__(self, error):
        super().__init__('bad')
        object.__setattr__(self, 'error', error)

    def items(self):
        raise self.error


@pytest.mark.parametrize('error, kind, text', [
    (InputError('no tar'), FAILED, 'no tar'), (ValueError('odd'), FAILED, 'ValueError: odd'),
    (OSError(28, 'No space left on device'), STOP, 'no space is left on the disk of'),
    (MemoryError(), FAILED, 'MemoryError')])
def test_how_an_input_shard_ends(encoder, tmp_path, error, kind, text):
    message = work(encoder, Shard(error), str(tmp_path), lambda images: None)
    assert message.kind == kind and text in message.text and not list(tmp_path.iterdir())


def test_a_shard_that_is_done(encoder, photos, tmp_path):
    (tmp_path / 'out').mkdir()
    message = work(encoder, find_source(photos).cut()[0], str(tmp_path / 'out'), lambda images: None)
    assert message.kind == DONE and message.outcome.rows == 10


def test_reports_are_collected_for_a_while(monkeypatch):
    now, seen = [0.0], []
    monkeypatch.setattr('dtbox.tokens.engines.messages.time.monotonic', lambda: now[0])
    reports = Reports(seen.append)
    for second in (0.1, 0.2, 0.6, 0.7, 1.2):
        now[0] = second
        reports.add(3)
    assert seen == [9, 6]
    now[0] = 1.3
    reports.add(2)
    reports.flush()
    reports.flush()
    assert seen == [9, 6, 2]


# ---- Ray -------------------------------------------------------------------------------------------------------------


class FakeRay:
    """As much of the package as the engine uses."""
    __version__ = '2.60.0'

    class RayError(Exception):
        pass

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self):
        self.killed = []

    def remote(self, kind):
        return SimpleNamespace(options=lambda **options: setattr(self, 'options', options))

    def wait(self, generators, timeout=None, **more):
        ready = [g for g in generators if g.ready]
        return ready, []

    def get(self, value):
        if isinstance(value, Exception):
            raise value
        return value

    def kill(self, actor):
        self.killed.append(actor)


class Call:
    """A generator of references; `ready` says whether the next one is there."""

    def __init__(self, values):
        self.values, self.ready = list(values), True

    def __next__(self):
        if not self.values:
            raise StopIteration
        return self.values.pop(0)


class FakeActor:
    def __init__(self, calls):
        remote = SimpleNamespace(remote=lambda *args: Call(calls.pop(0)))
        self.begin = self.encode = SimpleNamespace(options=lambda num_returns: remote)


def test_messages_of_an_actor():
    done = Message(DONE)
    worker = rays.RayWorker(FakeRay(), FakeActor([[Message(BEGUN, number=7), Message(READY)], [Message(IMAGES), done]]),
                            START)
    assert [m.kind for m in worker.receive()] == [BEGUN, READY] and worker.pid == 7 and worker.messages is None
    assert worker.receive() == []
    worker.send(SourceShard('x'))
    assert worker.receive()[-1] is done and worker.why == ''


def test_an_actor_that_dies():
    ray = FakeRay()
    worker = rays.RayWorker(ray, FakeActor([[Message(BEGUN, number=7), ray.RayError('the node died')]]), START)
    assert [m.kind for m in worker.receive()] == [BEGUN] and worker.why == 'RayError: the node died'
    worker.stop()
    assert ray.killed == [worker.actor]


@pytest.mark.parametrize('device, resources, options, workers', [
    ('cpu', dict(CPU=4.0), dict(num_cpus=1, num_gpus=0), 4),
    ('cpu', dict(CPU=4.0, GPU=2.0), dict(num_cpus=1, num_gpus=0), 4),
    ('cuda', dict(CPU=4.0, GPU=2.0), dict(num_cpus=1, num_gpus=1), 2)])
def test_resources_of_an_actor(monkeypatch, device, resources, options, workers):
    ray = FakeRay()
    monkeypatch.setattr(rays.Cluster, '__init__', lambda self, address: self.__dict__.update(
        ray=ray, resources=resources, gpus=int('GPU' in resources), owned=False))
    engine = rays.RayEngine(Start(Settings('run', device=device), 'out', 'digest'))
    assert engine.workers == workers
    assert ray.options == dict(options, max_restarts=0, max_task_retries=0)  # the schedule replaces workers


def test_a_ray_of_another_version():
    rays.check_version(SimpleNamespace(__version__='2.10.0'))
    for version in ('2.9.3', '1.13.0'):
        with pytest.raises(InputError, match=f'Ray {version} is installed; `dtbox encode` needs 2.10 or newer'):
            rays.check_version(SimpleNamespace(__version__=version))


def test_ray_gives_the_same_files(tiny_run, tmp_path, forks):
    pytest.importorskip('ray')
    src = write_set(tmp_path / 'tars', [5, 6, 3])
    run_encode(tiny_run, src, tmp_path / 'local')
    result = run_encode(tiny_run, src, tmp_path / 'ray', Work('ray', workers=2))
    assert result.failed == {} and hashes(tmp_path / 'ray') == hashes(tmp_path / 'local')
    assert os.path.isfile(tmp_path / 'ray' / MANIFEST)
