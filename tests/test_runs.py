"""The files of a run: names in one module, formats, and how a run takes its folder."""
import ast
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import dtbox
from dtbox.config import load_config
from dtbox.config.text import format_config
from dtbox.errors import InputError, RenamedError
from dtbox.locks import Locked
from dtbox.run_formats import FORMAT, Origin, check_format
from dtbox.runs import RunFolder, choose_run_folder, name_run, name_samples
from dtbox.training import checkpoint as checkpoints
from dtbox.training.runner import Runner
from tests.test_imports import modules  # noqa: F401

COMMON = {'protocols', 'diagnostics'}
"""Names of folders that are everyday words, too."""
# of Hugging Face's folders
ELSEWHERE = {'tokenizer.json': ('apis.pretrained', 'apis.zoo_entry', 'converters.run_folder', 'texts.siglip',
                                'mllm.sequences.text_tokenizers', 'mllm.sequences.tokens',
                                'weights.exported_folders'),
             'drawings.png': ('apis.mllm_files',),  # of the folder of `dtbox draw`
             'config.py': ('testing.scaffold', 'cli.plugins'),  # of a plugin's folder
             '.lock': ('ablation.folder', 'datasets.shards.fetch')}  # of a grid, of a shard
"""File name of a run -> modules in which it is that of another kind of folder."""


def list_names():
    paths = [value for value in vars(RunFolder('run')).values() if value.startswith('run' + os.sep)]
    return {os.path.basename(path) for path in paths} - COMMON


def find_literals(tree, names):
    """Yield (line, name) of the strings that are a file name of a run, or end with one after a slash."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not any(c.isspace() for c in node.value):
            name = node.value.rpartition('/')[2]
            if name in names:
                yield node.lineno, name


def test_one_module_knows_the_names(modules):  # noqa: F811
    found = [f'dtbox/{module.replace(".", "/")}.py:{line} {name}' for module, tree in modules.items() if module
             != 'runs'
             for line, name in find_literals(tree, list_names()) if module not in ELSEWHERE.get(name, ())]
    assert not found, 'use RunFolder of dtbox/runs.py:\n' + '\n'.join(found)


def test_the_rule_finds_literals():
    tree = ast.parse("a = 'metrics.json'\nb = f'{a}/checkpoint.pth'\nc = 'no metrics.json here'\nd = 'my_metrics.json'")
    assert list(find_literals(tree, list_names())) == [(1, 'metrics.json'), (2, 'checkpoint.pth')]


def test_paths():
    run = RunFolder('a/b')
    assert os.fspath(run) == 'a/b' and run.name == 'b' and RunFolder(run).path == 'a/b'
    assert run.checkpoint == 'a/b/checkpoint.pth' and run.checkpoint_copy(20) == 'a/b/checkpoint_20.pth'
    assert run.image_sheet(500) == 'a/b/images/iter_000500.png'
    assert run.nonfinite_batch(7, 1) == 'a/b/nonfinite/iteration_00000007_rank_1.pt'


def test_protocols_and_consoles(tmp_path):
    for name in ('protocols.10.json', 'protocols.json', 'protocols.2.json', 'protocols.x.json', 'protocols.json.part'):
        (tmp_path / name).touch()
    for name in ('b/1.log', 'a/2.log', 'a/deep/3.log', 'log.txt', 'top.log'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    run = RunFolder(tmp_path)
    assert [os.path.basename(p) for p in run.list_protocols()] == ['protocols.json', 'protocols.2.json',
                                                                   'protocols.10.json']
    assert [os.path.relpath(p, tmp_path) for p in run.list_consoles()] == ['log.txt', 'b/1.log', 'a/2.log']


def test_samples_beside_metrics():
    assert name_samples('a/metrics.json') == 'a/samples.npz' and name_samples('metrics.2.json') == 'samples.2.npz'
    assert name_samples('a/scores.json') is None and name_samples('a/metrics_b.json') is None


# ---- formats --------------------------------------------------------------------------------------------------------


def test_folder_says_who_wrote_it(tiny_run):
    assert json.loads((tiny_run / 'run.json').read_text()) == dict(format=2, dtbox=dtbox.__version__)
    assert RunFolder(tiny_run).read_origin() == Origin(2, dtbox.__version__)
    state = checkpoints.load(tiny_run)
    assert state['format'] == FORMAT == 2 and state['meta']['dtbox'] == dtbox.__version__


def test_format_1(tmp_path):
    """Without run.json a folder is of format 1, and the header of its config names the version."""
    run = RunFolder(tmp_path)
    assert run.read_origin() == Origin(1, '')
    (tmp_path / 'config.py').write_text('"""Written by dtbox 0.1.0; bases merged."""\nseed = 3\n')
    assert run.read_origin() == Origin(1, '0.1.0') and load_config(tmp_path).seed == 3
    (tmp_path / 'config.py').write_text('"""Converted by dtbox 0.1.3 from a release."""\n')
    assert run.read_origin() == Origin(1, '0.1.3')


def test_images_of_format_1(tmp_path):
    """Readers take pictures/ until the folder is written to again, which renames it."""
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'pictures' / 'iter_000003.png').touch()
    run = RunFolder(tmp_path)
    assert os.path.isfile(run.image_sheet(3)) and run.images == str(tmp_path / 'pictures')
    run.write_origin()
    assert os.path.isfile(run.image_sheet(3)) and run.images == str(tmp_path / 'images')
    assert run.read_origin() == Origin(2, dtbox.__version__)


@pytest.mark.parametrize('about, says', [
     (dict(format=3, dtbox='0.9.1'),
      r'run folder .* was written by dtbox 0\.9\.1 in format 3; dtbox .* reads formats '
      r'1 to 2\. Install dtbox 0\.9\.1 or newer\.$'),
     (dict(format=0, dtbox='0.0.7'),
      r'was written by dtbox 0\.0\.7 in format 0; .* reads formats 1 to 2\. Open it ' r'with dtbox 0\.0\.7\.$'),
     (dict(format='x', dtbox='1'), r'run\.json was not written by dtbox, or is cut short'),
     ([1], r'run\.json was not written by dtbox'),
     (dict(format=2), r"cut short \('dtbox'\)\. Expected \{\"format\": " r"2")])
def test_other_formats(tmp_path, about, says):
    (tmp_path / 'config.py').write_text('seed = 3\n')
    (tmp_path / 'run.json').write_text(json.dumps(about))
    with pytest.raises(InputError, match=says):
        load_config(tmp_path)
    with pytest.raises(InputError, match=says):
        RunFolder(tmp_path).prepare(resume=True)
    assert RunFolder(tmp_path).prepare(resume=False) == f'{tmp_path}.1'  # it is moved aside, whoever wrote it


@pytest.mark.parametrize('number, version, says', [
    (9, '0.9.1', r'the checkpoint .* was written by dtbox 0\.9\.1 in format 9; .*Install dtbox 0\.9\.1 or newer'),
    (9, '', 'written by dtbox of a later version in format 9; .*Install dtbox of that version or newer'),
    (0, '', 'written by an earlier version of dtbox in format 0')])
def test_checkpoints_of_other_formats(tmp_path, number, version, says):
    path = tmp_path / 'checkpoint.pth'
    torch.save(dict(format=number, meta=dict(dtbox=version) if version else {}, state_dict={}), path)
    with pytest.raises(InputError, match=says):
        checkpoints.load(path)
    torch.save(dict(format=1, state_dict={}), path)
    assert checkpoints.load(path)['state_dict'] == {}
    check_format('it', Origin(1, '')), check_format('it', Origin(2, ''))


def test_old_names_of_a_run(tmp_path):
    """An error about a renamed part tells who wrote the run; where there is no run, it stays as it is."""
    run, error = RunFolder(tmp_path), RenamedError('`Pictures` is now called `Images`.', 'hooks.0')
    with pytest.raises(RenamedError) as plain, run.explain_old_names():
        raise error
    assert plain.value is error
    (tmp_path / 'config.py').write_text('"""Written by dtbox 0.1.0; bases merged."""\n')
    (tmp_path / 'checkpoint.pth').touch()
    with pytest.raises(RenamedError) as told, run.explain_old_names():
        raise error
    assert str(told.value) == ('hooks.0: `Pictures` is now called `Images`. dtbox 0.1.0 wrote the run folder '
                               f'{tmp_path}: write the new name into {tmp_path}/config.py, or open the folder with '
                               'that version.')


def test_a_run_of_format_1_opens(tiny_run, tmp_path):
    """Lists of hooks and metrics are read; a renamed part is an error that names the version, the new name and the file
    to change."""
    folder = tmp_path / 'run'
    shutil.copytree(tiny_run, folder)
    (folder / 'run.json').unlink()
    cfg = load_config(tiny_run)
    text = format_config(Config(dict(
        cfg._cfg_dict.to_dict(), hooks=list(cfg.hooks.values()) + [dict(cfg.hooks.log)],
        val_evaluator=list(cfg.val_evaluator.values()), tiny={'train_cfg.max_iters': 2}), format_python_code=False))
    (folder / 'config.py').write_text('"""Written by dtbox 0.1.0; bases merged."""\n'
                                      + text.replace('TokenizerTask', 'TokenizerTraining'))
    old = load_config(folder)
    assert list(old.hooks) == ['Log', 'Checkpoint', 'Results', 'Images', 'Log_2'] and old.hooks.Log_2 == cfg.hooks.log
    assert 'PSNR' in old.val_evaluator and 'tiny' not in old
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    for name, codes in dtbox.load(folder).encode(images).items():
        assert torch.equal(codes, dtbox.load(tiny_run).encode(images)[name])
    with pytest.raises(RenamedError, match=r'`TokenizerTraining` of models is now called `TokenizerTask`.* dtbox '
                                           r'0\.1\.0 wrote the run folder '
                                           r'.*: write the new name into .*run/config\.py, or open the folder with '
                                           r'that version\.'):
        Runner.from_config(old, work_dir=str(folder), resume=True)


# ---- a run takes its folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('config, folder', [
     ('my.py', 'work_dirs/my'), ('some/where.py', 'work_dirs/where'), ('a/b/config.py', 'work_dirs/b'),
     (None, 'work_dirs/run')])
def test_folder_of_a_config(config, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert choose_run_folder(config).path == folder
    assert config is None or name_run(config) == os.path.basename(folder)


def test_folder_of_a_run_is_itself(tmp_path):
    (tmp_path / 'checkpoint.pth').touch()
    assert choose_run_folder(str(tmp_path / 'config.py')).path == str(tmp_path)
    assert choose_run_folder(str(tmp_path / 'other.py')).path == 'work_dirs/other'


def test_prepare(tmp_path):
    run = RunFolder(tmp_path / 'run')
    assert run.prepare(resume=False) is None and os.path.isdir(run.path)
    open(run.config, 'w').close()
    with pytest.raises(InputError, match=rf'another run \(pid {os.getpid()}\) uses the folder'):
        RunFolder(run).prepare(resume=True)
    assert not os.path.exists(f'{run.path}.1')
    run.release()
    assert run.prepare(resume=True) is None and run.has_config()
    run.release()
    assert run.prepare(resume=False) == f'{run.path}.1'
    assert not run.has_config()
    assert RunFolder(f'{run.path}.1').has_config()
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='the work dir .* is a file. Give a folder'):
        RunFolder(tmp_path / 'file').prepare(resume=False)


def test_one_run_at_a_time(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    assert run.prepare(resume=True) is None
    with run.hold(), pytest.raises(InputError, match='is working on the run'), Locked(run.running_lock, 'the run'):
        pass  # one lock from `prepare` to the end of `hold`
    with Locked(run.running_lock, 'the run'):
        pass
    with RunFolder(tmp_path).hold(), pytest.raises(InputError,
                                                   match='is working on the run'), Locked(tmp_path / '.running',
                                                                                          'the run'):
        pass
    monkeypatch.setattr('dtbox.distributed.get_rank', lambda: 1)
    with RunFolder(tmp_path).hold(), Locked(tmp_path / '.running', 'the run'):  # rank 1 holds nothing
        pass


def read_table():
    """Return [(pattern of a path, when it is written)] of the table in dtbox/training/README.md."""
    text = (Path(dtbox.__file__).parent / 'training' / 'README.md').read_text()
    table = text.partition('## What a run folder holds')[2].partition('\n## ')[0]
    rows = [line.strip('| ').split(' | ') for line in table.splitlines() if line.startswith('| `')]
    patterns = {'DATE_TIME': r'\d{8}_\d{6}', 'ITERATION': r'\d+'}
    found = []
    for names, _, written in rows:
        for name in re.findall('`(.+?)`', names):
            pattern = re.escape(name) + ('.*' if name.endswith('/') else '')
            for word, meaning in patterns.items():
                pattern = pattern.replace(word, meaning)
            found.append((pattern, written))
    return found


def list_surprises(folder):
    """Return the files of a run folder that the table does not list."""
    files = [path.relative_to(folder).as_posix() for path in Path(folder).rglob('*') if path.is_file()]
    return [file for file in files if not any(re.fullmatch(pattern, file) for pattern, _ in read_table())]


def list_absent(folder, conditions):
    """Return the patterns of files that the table says are written, and a run folder lacks.

    Args:
        folder: of the run.
        conditions: words of the last column for what this run does not have.
    """
    files = [path.relative_to(folder).as_posix() for path in Path(folder).rglob('*') if path.is_file()]
    return [pattern for pattern, written in read_table() if not any(word in written for word in conditions)
            and not any(re.fullmatch(pattern, file) for file in files)]


OPTIONAL = ('with plugins', 'keep_every', 'vis_backends', 'GradientConflict', 'ConversationSheets', 'tolerate',
            '`dtbox ', 'mllm_anchors')


def test_the_table_of_files_is_that_of_a_run(tiny_run):
    """Each file of a run is in the table, and each file of the table that a run of these hooks writes is there."""
    assert list_surprises(tiny_run) == []
    assert list_absent(tiny_run, (*OPTIONAL, 'CodebookHealth', 'text tower')) == []
    patterns = [pattern for pattern, _ in read_table()]
    assert not [name for name in list_names() | {'diagnostics'}
                if not any(re.fullmatch(pattern, name) or re.fullmatch(pattern, f'{name}/') for pattern in patterns)]
