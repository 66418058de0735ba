"""Runs of a multimodal language model: killed and resumed, other tokenizers, ranks that the command starts itself."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import torch

from dtbox.apis.tokenizer import Tokenizer
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.training import checkpoint
from dtbox.training.local_ranks import LocalRanks, choose_cpu_ranks
from dtbox.training.runner import Runner
from tests import mllm_kit as kit
from tests.child_processes import fork_child, is_running, run_fork
from tests.conversation_data import WORDS, write_word_tokenizer
from tests.kill_runs import Kill, Killer
from tests.training.test_resume import same

pytest.importorskip('transformers')
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='forks')
PART = "dict(type='ConversationFiles', data_root={root!r}, file={file!r}, pipeline=[dict(type='PackImage')]{more})"
CONFIG = '''
model = dict(
    type='MLLMTask', tokenizer=dict(type='TrainedTokenizer', source='{root}/tokenizer'), cache=None, keep_share=0.5,
    evaluation=dict(scales=[2.0], max_tokens=3), {parts})
train_dataloader = dict(batch_size=4, last='carry', dataset=dict(
    type='Mixture', rule=dict(type='FixedCounts', weights=dict(draw=1, ask=1)), datasets=dict(draw={draw}, ask={ask})))
val_dataloader = dict(batch_size=4, dataset=dict(
    type='Mixture', separate_sets=True, datasets=dict(draw={held_draw}, ask={held_ask})))
val_evaluator = dict(captions=dict(type='AnswerAccuracy'), nats=dict(type='CodeLikelihood'))
optim_wrapper = dict(model=dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0)))
max_iters = 5
train_cfg = dict(max_iters='${{max_iters}}', val_interval=3)
hooks = dict(log=dict(type='Log', interval=1), checkpoint=dict(type='Checkpoint', interval=1),
             results=dict(type='Results'))
seed = 0
threads = 1
'''
TRAIN = '''
_base_ = ['./mllm.py']
cpu_ranks = 2
model = dict(keep_share=1.0)
optim_wrapper = dict(model=dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1)))
val_dataloader = None
val_evaluator = None
train_cfg = dict(_delete_=True, max_iters='${max_iters}')
hooks = dict(results=None)
'''
"""The same without evaluation, in steps that one rank and two take alike."""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Path of the config, beside its data and its tokenizer."""
    root = tmp_path_factory.mktemp('mllm')
    kit.write_llava(root)
    words = write_word_tokenizer(root / 'words.json')
    for name, seed in (('tokenizer', 0), ('other', 7)):
        frozen = kit.make_tokenizer(seed)
        Tokenizer(frozen.model, [], frozen.config).save_pretrained(root / name)
    held = ", split='heldout', limit=3"
    names = {f'{prefix}{kind}': PART.format(root=str(root), file=f'{kind}.jsonl', more=more + add)
             for prefix, more in (('', ''), ('held_', held))
             for kind, add in (('draw', ''), ('ask', ', independent=True'))}
    path = root / 'mllm.py'
    parts = ', '.join(f'{name}={value!r}' for name, value in kit.model_config(words).items())
    path.write_text(CONFIG.format(root=root, parts=parts, **names))
    (root / 'train.py').write_text(TRAIN)
    return path


def make_runner(config, folder, resume=False, **options):
    cfg = load_config(str(config), {k.replace('__', '.'): v for k, v in options.items()})
    return Runner.from_config(cfg, work_dir=str(folder), resume=resume)


@pytest.fixture(scope='module')
def whole(config):
    """(Killer, folder of a run that nobody kills)."""
    killer = Killer(config.parent, 'fork')
    folder = config.parent / 'whole'
    make_runner(config, folder).train()
    return killer, folder


def test_what_a_run_leaves(whole, config):
    """Checkpoint without the tokenizer, but with its hash; scores of each set; a text tokenizer that opens again."""
    _, folder = whole
    state = checkpoint.load(folder)
    assert state['meta']['tokenizer'] == kit.make_tokenizer().digest
    assert not any('tokenizer' in name for name in state['state_dict'])
    scores = json.loads((folder / 'metrics.json').read_text())
    assert 'nats/pixel' in json.dumps(scores)
    rows = [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]
    assert {'text', 'pixel', 'pixel_1', 'semantic_2', 'total'} <= set(rows[-1])


@pytest.mark.parametrize('kill', [Kill('step', 'SIGKILL', 3, 0.0, 0), Kill('evaluation', 'SIGTERM', 0, 0.0, 0),
                                  Kill('write', 'SIGKILL', 1, 0.0, 20)], ids=lambda kill: kill.moment)
def test_killed_and_resumed(whole, config, tmp_path, kill):
    """In the middle of an epoch of seven batches: checkpoint, scores and history are those of the whole run."""
    killer, folder = whole
    assert killer.check(str(config), kill, folder, tmp_path / 'cut') == ''


@pytest.mark.parametrize('first, then', [(True, False), (False, True), (True, True)])
def test_resumed_with_and_without_cached_codes(whole, config, tmp_path, first, then):
    """The folder of codes may come, go, or stay: the same weights, bit for bit, and each code encoded once."""
    caches = [str(tmp_path / 'codes') if kept else None for kept in (first, then)]
    make_runner(config, tmp_path / 'run', max_iters=2, model__cache=caches[0]).train()
    runner = make_runner(config, tmp_path / 'run', resume=True, max_iters=5, model__cache=caches[1])
    runner.train()
    same(checkpoint.load(whole[1])['state_dict'], checkpoint.load(tmp_path / 'run')['state_dict'])
    if first and then:
        assert runner.task.codes.hits > 0


def test_resumed_with_another_tokenizer(whole, config, tmp_path):
    """Its hash is compared, not its path."""
    folder = tmp_path / 'run'
    shutil.copytree(whole[1], folder)
    other = {'model__tokenizer__source': str(config.parent / 'other'), 'max_iters': 6}
    with pytest.raises(InputError, match='tokenizer'):
        make_runner(config, folder, True, **other)
    same(checkpoint.load(whole[1])['state_dict'], checkpoint.load(folder)['state_dict'])
    shutil.copytree(config.parent / 'tokenizer', tmp_path / 'moved')
    make_runner(config, folder, True, max_iters=6, model__tokenizer__source=str(tmp_path / 'moved'))


def test_resumed_by_its_folder(whole, config, tmp_path):
    """The run's own tokenizer.json has the same tokens, whatever made them; other tokens are refused."""
    folder = tmp_path / 'run'
    shutil.copytree(whole[1], folder)
    Runner.from_config(load_config(folder, {'max_iters': 6}), work_dir=str(folder), resume=True).folder.release()
    words = write_word_tokenizer(tmp_path / 'other.json', [*reversed(WORDS)])
    with pytest.raises(InputError, match='text tokens'):
        make_runner(config, folder, True, max_iters=6, model__sequence__tokenizer__file=words)


def test_a_digest_in_the_config(config, tmp_path):
    options = {'model__tokenizer__digest': 'no such'}
    with pytest.raises(InputError, match='have the hash [0-9a-f]{16}; expected no such: codes of another tokenizer'):
        make_runner(config, tmp_path / 'run', **options)
    assert not (tmp_path / 'run').exists()


def test_accumulation_is_refused_before_a_run_begins(config, tmp_path):
    options = {'optim_wrapper__model__accumulative_counts': 2}
    with pytest.raises(InputError, match='model.micro_batch=N'):
        make_runner(config, tmp_path / 'run', **options)
    assert not (tmp_path / 'run').exists()


# ---- ranks of one command -------------------------------------------------------------------------------------------

def command(config, folder, *options):
    return ['-m', 'dtbox', 'train', str(config.parent / 'train.py'), '--work-dir', str(folder),
            '--cfg-options', *options]


def test_number_of_ranks(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.delenv('RANK', raising=False)
    assert [choose_cpu_ranks(cfg, 'none') for cfg in ({}, dict(cpu_ranks=None), dict(cpu_ranks=2))] == [1, 1, 2]
    assert choose_cpu_ranks(dict(cpu_ranks=2), 'pytorch') == 1
    monkeypatch.setenv('RANK', '0')
    assert choose_cpu_ranks(dict(cpu_ranks=2), 'none') == 1
    monkeypatch.delattr(os, 'fork')
    with pytest.raises(InputError, match='this system cannot fork. Set cpu_ranks=1'):
        LocalRanks(2).__enter__()


def test_two_ranks_of_one_command(config, tmp_path):
    """The weights are those of one rank with the whole batch; the other rank prints nothing and leaves no file."""
    make_runner(config.parent / 'train.py', tmp_path / 'one').train()
    done = run_fork(command(config, tmp_path / 'two', 'train_dataloader.batch_size=2'),
                    env=dict(os.environ, TMPDIR=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    one, two = (checkpoint.load(tmp_path / name) for name in ('one', 'two'))
    assert two['meta']['world_size'] == 2
    for name, value in one['state_dict'].items():
        assert torch.allclose(value.double(), two['state_dict'][name].double(), rtol=1e-4, atol=1e-5), name
    assert not list(tmp_path.glob('dtbox-rank*'))


def start(config, folder, tmp_path):
    """Start a long run of two ranks; returns it, and the process id of its other rank, once it has a checkpoint."""
    process = fork_child(command(config, folder, 'max_iters=100000'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=dict(os.environ, TMPDIR=str(tmp_path)))
    for _ in range(1200):
        if (folder / 'checkpoint.pth').exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[1]
    return process, find_children(process.pid)


def find_children(pid):
    """Return the process ids of the children of a process."""
    found = []
    for entry in os.listdir('/proc'):
        with suppress(OSError, ValueError):
            with open(f'/proc/{int(entry)}/stat') as f:
                if int(f.read().rpartition(')')[2].split()[1]) == pid:
                    found.append(int(entry))
    return found


def test_a_rank_that_is_killed(config, tmp_path):
    """Told with exit code 1; nothing of it stays."""
    process, children = start(config, tmp_path / 'run', tmp_path)
    os.kill(children[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and 'another rank of this run has ended' in errors
    assert 'The last words of another rank' in errors and not list(tmp_path.glob('dtbox-rank*'))


def test_ctrl_c_on_two_ranks(config, tmp_path):
    """As a terminal sends it, to both: the run is saved, the command to resume it is printed, no rank stays."""
    process, children = start(config, tmp_path / 'run', tmp_path)
    for pid in (process.pid, *children):
        os.kill(pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and '--resume' in errors, errors
    assert not any(is_running(pid) for pid in children)
    state = checkpoint.load(tmp_path / 'run')
    assert state['iteration'] >= 1 and state['meta']['world_size'] == 2
