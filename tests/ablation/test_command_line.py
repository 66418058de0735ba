"""dtbox ablate: what it says to bad input, what a later --resume remembers, and its exit code."""
import os

import pytest

from dtbox.ablation import GridFolder, read_grid
from dtbox.ablation.closing import list_missing_scores
from dtbox.ablation.start import find_grid, merge_settings
from dtbox.cli.ablate import VERB
from dtbox.cli.options import read_options


def run(*argv):
    """Run the command line; returns its exit code."""
    try:
        VERB.main([str(a) for a in argv])
    except SystemExit as stopped:
        return stopped.code
    return 0


@pytest.mark.parametrize('more, message', [
     (['--accept-code-change'], '--accept-code-change goes with --resume'), (['--only', 'nothing'], 'matches no trial'),
     (['--cfg-options', 'quantizer.siz=3'], 'no such key'), (['--threads', '0'], '`threads` is 0'),
     (['--workers', '0'], '`workers` is 0'), (['--address', 'a:1'], 'goes with --engine ray'),
     (['--plugin', '/nowhere'], 'the plugin /nowhere does not exist')])
def test_bad_command_lines(write_grid, tmp_path, more, message, capsys):
    assert run(write_grid(), '--work-dir', tmp_path / 'new', *more) == 2
    assert message in capsys.readouterr().err and not (tmp_path / 'new').exists()


@pytest.mark.parametrize('text, message', [
    ('{"na', 'grid.json cannot be read'), ('[1]', 'was not written by dtbox'), ('{"a": 1}', 'was not written by dtbox'),
    ('{"format": "1"}', 'was not written by dtbox'), ('{"format": 9}', 'Install a newer dtbox')])
def test_a_grid_json_that_is_none(write_grid, tmp_path, text, message, capsys):
    folder = tmp_path / 'old'
    folder.mkdir()
    (folder / 'grid.json').write_text(text)
    for argv in ([write_grid(), '--work-dir', folder, '--resume'], [write_grid(), '--work-dir', folder], [folder]):
        assert run(*argv) == 2 and message in capsys.readouterr().err
    assert os.listdir(folder) == ['grid.json']


def test_a_folder_stands_for_its_grid(write_grid, tmp_path, capsys, monkeypatch):
    assert run(tmp_path) == 2 and 'is not the folder of a grid' in capsys.readouterr().err
    path = write_grid()
    monkeypatch.chdir(os.path.dirname(path))
    folder = GridFolder(tmp_path / 'new')
    os.makedirs(folder.path)
    folder.write_about(read_grid(os.path.basename(path)))
    assert folder.about()['config'] == 'small.py'
    monkeypatch.chdir('/')  # the grid is found from any place, and the folder may have been moved
    os.rename(folder.path, tmp_path / 'moved')
    assert find_grid(str(tmp_path / 'moved'))[:2] == (path, str(tmp_path / 'moved'))
    os.remove(path)
    assert run(tmp_path / 'moved', '--resume') == 2 and f'is no longer at {path}' in capsys.readouterr().err


def test_what_was_typed_at_the_start_is_remembered(write_grid, tmp_path, instant):
    plugin = tmp_path / 'nothing_new.py'
    plugin.write_text('')
    path, folder = write_grid(), tmp_path / 'new'
    started = ['--seeds', '5', '6', '--threads', '2', '--cfg-options', 'quantizer.size=32', "train_cfg.max_iters=3",
               '--plugin', str(plugin)]
    engine = instant()
    assert run(path, '--work-dir', folder, '--no-report', *started) == 0 and len(engine.started) == 8
    engine = instant()
    assert run(folder, '--no-report', '--resume') == 0 and engine.started == []  # the same trials: nothing is missing

    def kept(*argv):
        args = VERB.parse([str(folder), *argv])
        about = find_grid(args.grid)[2] if args.resume else None
        return merge_settings(read_options(args), args.plugin, args.seeds, args.threads, about)
    options = {'quantizer.size': 32, 'train_cfg.max_iters': 3}
    assert kept('--resume') == dict(options=options, plugins=[str(plugin)], seeds=[5, 6], threads=2)
    assert kept('--resume', '--seeds', '7', '--cfg-options', 'quantizer.size=16') == dict(
        options={**options, 'quantizer.size': 16}, plugins=[str(plugin)], seeds=[7], threads=2)
    assert kept() == dict(options={}, plugins=[], seeds=None, threads=None)


def test_the_exit_code_is_about_the_trials_that_were_asked_for(write_grid, tmp_path, instant, capsys):
    path, folder = write_grid(), tmp_path / 'new'
    instant()
    assert run(path, '--work-dir', folder, '--no-report', '--only', 'wide') == 0
    assert '4 done, 4 missing. Bookkeeping: ' in capsys.readouterr().out
    instant(outcome={'1__narrow__seed0': 'failed'})
    assert run(folder, '--no-report', '--resume') == 1
    instant(outcome={'1__narrow__seed0': 'diverged'})
    assert run(folder, '--no-report', '--resume') == 1


def test_an_interrupted_command_says_how_it_goes_on(write_grid, tmp_path, instant, monkeypatch, capsys):
    path, folder = write_grid(), tmp_path / 'new'
    instant()

    def interrupted(self):
        raise KeyboardInterrupt
    monkeypatch.setattr('tests.ablation.conftest.InstantTrial.poll', interrupted)
    monkeypatch.setattr('tests.ablation.conftest.InstantTrial.stop', lambda self: None)
    assert run(path, '--work-dir', folder, '--workers', 1, '--only', '*wide*') == 130
    assert (f"To resume the grid: dtbox ablate {path} --work-dir {folder} --workers 1 --only '*wide*' --resume\n"
            in capsys.readouterr().err)


def test_scores_that_are_not_there_are_said_to_be(write_grid):
    grid = read_grid(write_grid(("metrics = ['heldout/psnr']", "metrics = ['heldout/pnsr', 'heldout/ssim']")))
    rows = [{'trial': 'a', 'status': 'done', 'heldout/psnr': 1.0, 'heldout/ssim': 1.0},
            dict(trial='b', status='done'), dict(trial='c', status='failed')]
    assert list_missing_scores(grid, rows) == [
        'b has no scores: its metrics.json is missing or cannot be read. To run it again, take its folder away.',
        'No trial has the metric `heldout/pnsr` that the grid asks for. Did you mean `heldout/psnr` or `heldout/ssim`?']
    assert list_missing_scores(grid, rows[2:]) == []
