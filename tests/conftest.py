"""What the tests share: golden data and a checkpoint in the published form; one thread a worker; the marker `slow`."""
import json
import logging
import os
from pathlib import Path

if 'PYTEST_XDIST_WORKER' in os.environ:  # before torch counts the cores
    os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ['HF_HUB_OFFLINE'] = '1'  # before huggingface_hub is imported, which else waits half a minute for a network

import pytest
import torch

from dtbox.processes import end_with_parent
from dtbox.testing.rank_group import Ranks
from tests import child_processes
from tests.cifar_data import cifar_batches, cifar_shards  # noqa: F401
from tests.tiny_mllm import mllm, mllm_run  # noqa: F401
from tests.tiny_run import tiny_config, tiny_run  # noqa: F401

DATA = Path(__file__).parent / 'data'
SLOW = Path(__file__).parent / 'slow_tests.txt'
"""Lines `file` or `file::function`, measured: more than half a second of one CPU, or processes of their own."""


logging.raiseExceptions = False  # a logger of an earlier test may still write to the output captured there, now closed


def pytest_configure():
    """A worker of xdist ends with pytest, also when that is killed."""
    if 'PYTEST_XDIST_WORKER' in os.environ:
        end_with_parent()
    Ranks.method = child_processes.FORKS.get_start_method()


LONGEST = ('tests/training/test_paper_runs.py', 'tests/training/test_at_size.py', 'tests/test_fuzz.py',
           'tests/cli/test_installed.py', 'tests/apis/test_export.py', 'tests/training/test_resume.py',
           'tests/testing/test_scaffold.py', 'tests/distributed/test_two_ranks.py', 'tests/ablation/test_trials.py',
           'tests/ablation/test_mllm_grid.py', 'tests/training/test_mllm_runs.py', 'tests/training/test_mllm_task.py',
           'tests/training/test_mllm_sharded_runs.py', 'tests/training/test_killed_on_shards.py',
           'tests/training/test_startup.py', 'tests/training/test_same_run.py', 'tests/test_types.py',
           'tests/test_paper_mllm.py')
"""Files that take more than ten seconds: they come first, so that no worker waits for another one at the end."""


def pytest_collection_modifyitems(items):
    """Mark the tests that slow_tests.txt names; the longest files come first."""
    place = {file: i for i, file in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition('::')[0], len(place)))
    slow = set(SLOW.read_text().split())
    for item in items:
        name = item.nodeid.partition('[')[0]
        if name in slow or name.partition('::')[0] in slow:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _seeded():
    """Every test begins with the same random state and threads, whatever recipes (`threads`) have run before it."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='session')
def golden():
    """golden_A.pt: a tiny DualToken with inputs, outputs and inner values; weights in float32."""
    data = torch.load(DATA / 'golden_A.pt', weights_only=True)
    data['state_dict'] = {k: v.float() for k, v in data['state_dict'].items()}
    return data


@pytest.fixture(scope='session')
def golden_train():
    """golden_train_A.pt: two training steps of the same model."""
    return torch.load(DATA / 'golden_train_A.pt', weights_only=True)


def write_published(folder, golden, change=None):
    """Write golden_A as a published checkpoint folder and its SigLIP folder; returns the two paths.

    `change` may edit (config, state dict, siglip config) before they are written.
    """
    src, siglip = folder / 'published', folder / 'siglip'
    src.mkdir(parents=True), siglip.mkdir()
    config = json.loads(json.dumps(golden['config']['rqvaesiglip']))
    towers = dict(vision_config=dict(golden['config']['siglip_vision_config']),
                  text_config=dict(golden['config']['siglip_text_config']))
    state = dict(golden['state_dict'])
    if change is not None:
        change(config, state, towers)
    # as it is published: all entries under one key
    (src / 'config.json').write_text(json.dumps(dict(model_type='rqvaesiglip', rqvaesiglip=config)))
    (siglip / 'config.json').write_text(json.dumps(towers))
    torch.save(dict(epoch=1, name='tiny', state_dict={k: v.bfloat16() for k, v in state.items()}), src / 'epoch_1.pt')
    return src, siglip


@pytest.fixture(scope='session')
def converted(golden, tmp_path_factory):
    """A run folder made from golden_A by the converter."""
    from dtbox.converters.run_folder import convert
    folder = tmp_path_factory.mktemp('golden')
    src, siglip = write_published(folder, golden)
    convert('dualtoken', src, folder / 'run', siglip=siglip)
    return folder / 'run'


@pytest.fixture
def command(capsys):
    """A function of (verb, words) that runs `dtbox VERB WORDS` and returns (exit code, stdout, stderr)."""
    from dtbox.cli.main import main

    def run(verb, *words):
        code = 0
        try:
            main([verb, *map(str, words)])
        except SystemExit as stopped:
            code = stopped.code or 0
        return code, *capsys.readouterr()
    return run
