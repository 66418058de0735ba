"""A grid over a multimodal language model: it runs, is killed and resumed, and its report shows the scores."""
import csv
import os
import signal
import subprocess
import time

import pytest

import dtbox
from dtbox.ablation import GridFolder, read_grid
from dtbox.ablation.identity import hash_data
from dtbox.ablation.trial import read_record
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.locks import wait_until_free
from dtbox.report.assembly import build
from tests.ablation.test_trials import ablate, arguments, lines, table
from tests.child_processes import fork_child
from tests.fuzz_configs import without_rendering
from tests.tiny_mllm import write_mllm_config

pytestmark = pytest.mark.slow
GRID = '''"""Two heads."""
base = {base!r}
axes = dict(head=dict(variants=dict(
    depth={{}}, parallel={{'model.visual_head': dict(type='ParallelHead', inner=32)}})))
seeds = {seeds}
reference = dict(head='depth')
'''


@pytest.fixture(scope='module')
def grid_file(tiny_run, tmp_path_factory):
    """The grid, over a recipe whose tokenizer is a folder of save_pretrained; a checkpoint after each iteration."""
    folder = tmp_path_factory.mktemp('mllm_grid')
    dtbox.load(tiny_run).save_pretrained(folder / 'tokenizer')
    recipe = write_mllm_config(folder, folder / 'tokenizer')
    text = recipe.read_text().replace("type='Checkpoint', interval=2", "type='Checkpoint', interval=1")
    text = text.replace("hooks = dict(", "hooks = dict(results=dict(type='Results'), ")
    text = text.replace('captions=', "answers=dict(type='AnswerAccuracy'), captions=")
    recipe.write_text(text)
    (folder / 'grid.py').write_text(GRID.format(base=str(recipe), seeds=[0, 1]))
    return folder / 'grid.py'


@pytest.fixture(autouse=True)
def _no_rendering():
    """The pixels of figures, most of the time of a report, are no claim of these tests."""
    with without_rendering():
        yield


@pytest.fixture(scope='module')
def done(grid_file):
    folder = grid_file.parent / 'done'
    assert '4 done' in ablate(grid_file, folder)
    return folder


def test_the_table(done):
    """Sizes are those of the language model, codes and bits those of its tokenizer."""
    rows = table(done)
    assert [(row['head'], row['seed'], row['status'], row['iterations']) for row in rows] == [
        ('depth', '0', 'done', '2'), ('depth', '1', 'done', '2'), ('parallel', '0', 'done', '2'),
        ('parallel', '1', 'done', '2')]
    assert {(row['tokens'], row['bits']) for row in rows} == {('64', '384.0')}  # 16 places of 2 x 2 codes of 64
    sizes = {row['head']: int(row['parameters']) for row in rows}
    model = dtbox.load(str(done / 'trials' / 'depth__seed0')).model
    assert sizes['depth'] == sum(p.numel() for p in model.parameters()) != sizes['parallel']
    assert all(row['all/nats/pixel'] and row['all/caption_f1'] and row['all/answers'] for row in rows)


def test_killed_and_resumed(grid_file, done):
    """The grid alone gets the signal; resumed, its rows are those of the one that was not killed. One seed."""
    folder, small = grid_file.parent / 'killed', grid_file.parent / 'small.py'
    small.write_text(GRID.format(base=str(grid_file.parent / 'mllm.py'), seeds=[0]))
    trials = [GridFolder(folder).trial(t) for t in read_grid(str(small)).trials]
    process = fork_child(['tools/ablate.py', *arguments(small, folder, '--workers', '1')], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    while process.poll() is None and not (read_record(trials[0]) and lines(trials[0]) >= 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not any(wait_until_free(os.path.join(trial, '.lock')) for trial in trials)
    assert '2 done' in ablate(small, folder, '--resume')
    assert table(folder) == [row for row in table(done) if row['seed'] == '0']


def test_the_report(done):
    """Every score has its mean with an interval over the seeds, and a difference to the reference."""
    build(str(done))
    with open(done / 'report' / 'tables' / 'scores_all.csv', newline='') as f:
        rows = list(csv.DictReader(f))
    for metric in ('all/caption_f1', 'all/answers', 'all/nats/pixel', 'all/nats/pixel/depth1',
                   'all/prompt_gain/semantic'):
        assert all(row[metric] and row[f'{metric} ±'] and row[f'{metric} n'] == '2' for row in rows), metric
    paired = (done / 'report' / 'tables' / 'paired.md').read_text()
    assert 'word F1' in paired and 'nats saved by prompt' in paired


def test_another_tokenizer_is_other_data(grid_file, tmp_path):
    """A trial knows the weights of its tokenizer's folder: others are not taken for them."""
    cfg = load_config(grid_file.parent / 'mllm.py')
    before = hash_data(cfg, None, None)
    weights = grid_file.parent / 'tokenizer' / 'model.safetensors'
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert hash_data(cfg, None, None) != before
    finally:
        weights.write_bytes(content)
    assert hash_data(cfg, None, None) == before


def test_nats_of_two_tokenizers(done, tmp_path_factory):
    """Nats of codes compare within a tokenizer alone: a report refuses two, and marks them where it may not refuse;
    scores of captions stay comparable."""
    with open(done / 'results.csv', newline='') as f:
        rows = list(csv.DictReader(f))
    digest = dtbox.load(str(done / 'trials' / 'depth__seed0')).model.tokenizer.digest
    assert {row['tokenizer_hash'] for row in rows} == {digest}
    folder = tmp_path_factory.mktemp('two')
    for row in rows:
        row['tokenizer_hash'] = 'feedfeedfeedfeed' if row['head'] == 'parallel' else digest
    with open(folder / 'results.csv', 'w', newline='') as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match='are nats of the codes of different tokenizers'):
        build(str(folder), metrics=['all/nats/pixel'])
    build(str(folder))
    text = (folder / 'report' / 'tables' / 'scores_all.md').read_text()
    assert 'different tokenizers' in text
