"""Opening somebody else's folder is as safe as opening a picture: nothing of theirs runs, and what is wrong is told."""
import json
import os
import shutil
import time

import pytest
import torch

import dtbox
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.memory import Peak, measure_resident_megabytes
from dtbox.texts.tokenizers import FileTokenizer
from dtbox.training.resume import resume_run
from dtbox.training.runner import Runner
from tests.hostile import AROUND, EXPORTS, MARK, RESUMES, RUNS, WORDS, make_words
from tests.plugins_kit import clean as clean  # noqa: F401


@pytest.fixture(scope='module')
def exported(tiny_run, tmp_path_factory):
    """A good folder of `save_pretrained`."""
    folder = tmp_path_factory.mktemp('exported') / 'good'
    dtbox.load(tiny_run).save_pretrained(folder)
    config = json.loads((folder / 'config.json').read_text())
    config.pop('sha256')  # a stranger writes none: what else is wrong is looked at
    (folder / 'config.json').write_text(json.dumps(config))
    return folder


def attempt(use, place):
    """Call `use`; returns the error, None where it succeeded. Nothing may run, take long, or take memory."""
    held = measure_resident_megabytes()
    begun, error = time.perf_counter(), None
    with Peak() as peak:
        try:
            use()
        except InputError as e:
            error = str(e)
    assert not (place / MARK).exists() and not os.path.exists('executed')
    assert time.perf_counter() - begun < 20 and (peak.megabytes is None or peak.megabytes - held < 2000)
    return error


@pytest.mark.parametrize('name', RUNS)
def test_a_run_folder(name, tiny_run, tmp_path, recwarn):
    run = shutil.copytree(tiny_run, tmp_path / 'archive' / 'run')
    RUNS[name](str(run))
    error = attempt(lambda: dtbox.load(run), run.parent)
    assert error is None or len(error) < 2000


@pytest.mark.parametrize('name', EXPORTS)
def test_an_exported_folder(name, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / 'folder')
    EXPORTS[name](str(folder))
    error = attempt(lambda: dtbox.Tokenizer.from_pretrained(folder), tmp_path)
    assert error is not None and len(error) < 2000


@pytest.fixture(scope='module')
def resumable(tiny_config, tiny_run, tmp_path_factory):
    """A runner of the run, and what its checkpoint holds."""
    run = shutil.copytree(tiny_run, tmp_path_factory.mktemp('resumed') / 'run')
    runner = Runner.from_config(load_config(tiny_config), work_dir=str(run), resume=True)
    return runner, torch.load(run / 'checkpoint.pth', weights_only=True)


@pytest.mark.parametrize('name', RESUMES)
def test_a_checkpoint_to_resume(name, resumable, tmp_path):
    """What is missing or odd is one sentence, and says what can be done."""
    runner, state = resumable
    state = dict(state, meta=dict(state['meta']))
    RESUMES[name](state)
    error = attempt(lambda: resume_run(runner, state, 'checkpoint.pth'), tmp_path)
    assert error is not None and '`load_from`' in error and len(error) < 600


@pytest.mark.parametrize('name', WORDS)
def test_a_text_tokenizer(name, tmp_path):
    """A regular expression may also come to an end by itself."""
    (tmp_path / 'tokenizer.json').write_text(WORDS[name])
    texts = ['cat', 'a' * 4000 + '!']
    error = attempt(lambda: FileTokenizer(str(tmp_path / 'tokenizer.json'), clean=False)(texts), tmp_path)
    assert (error is None) == (name in ('empty_repeats', 'many_repeats'))
    assert error is None or 'tokenizer.json' in error and len(error) < 600


def test_a_text_of_20_megabytes(tmp_path):
    """Its beginning is read where it may be cut; otherwise it is one sentence. Neither takes its time."""
    (tmp_path / 'tokenizer.json').write_text(make_words())
    tokenizer = FileTokenizer(str(tmp_path / 'tokenizer.json'), 8)
    text = 'cat dog ' * 2_500_000
    error = attempt(lambda: tokenizer([text], truncate=False), tmp_path)
    assert error == ('text 0 has 20,000,000 characters, and the text tower reads at most 8 tokens. Shorten it, or pass '
                     'truncate=True to have it cut.')
    begun = time.process_time()
    with pytest.warns(UserWarning, match='text 0 has .* tokens, but the text tower reads at most 8'):
        assert tokenizer([text]).tolist() == [[2, 1] * 4]
    assert time.process_time() - begun < 1


def test_they_are_many():
    assert len(RUNS) + len(EXPORTS) >= 60


@pytest.mark.usefixtures('clean')
@pytest.mark.parametrize('name', ['call', 'plugin_inside', 'plugin_beside', 'plugin_two_above'])
def test_trusted_code_runs(name, tiny_run, tmp_path):
    """With the user's word, as in transformers."""
    run = shutil.copytree(tiny_run, tmp_path / 'archive' / 'run')
    RUNS[name](str(run))
    with pytest.raises(InputError, match='--trust-remote-code, or trust_remote_code=True from Python'):
        dtbox.load(run)
    dtbox.load(run, trust_remote_code=True)
    assert (run.parent / MARK).exists()


@pytest.mark.usefixtures('clean')
@pytest.mark.parametrize('name', AROUND)
def test_names_that_lead_into_an_archive(name, tiny_run, tmp_path, monkeypatch):
    """What sys.path, the home or the current directory finds in it is the author's, not the user's."""
    run = shutil.copytree(tiny_run, tmp_path / 'archive' / 'run')
    here, path, home = AROUND[name](str(run))
    if here is not None:
        monkeypatch.chdir(here)
    if path is not None:
        monkeypatch.syspath_prepend(path)
    if home is not None:
        monkeypatch.setenv('HOME', home)
    error = attempt(lambda: dtbox.load(run), run.parent)
    assert 'names the plugin' in error and '--trust-remote-code' in error
    dtbox.load(run, trust_remote_code=True)
    assert (run.parent / MARK).exists()


@pytest.mark.usefixtures('clean')
def test_an_installed_module_loads(tiny_run, tmp_path, monkeypatch):
    """As do modules of another folder that the user has put on the path."""
    run = shutil.copytree(tiny_run, tmp_path / 'archive' / 'run')
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'own_module.py').write_text('')
    with open(run / 'config.py', 'a') as f:
        f.write("\nplugins = ['own_module']\n")
    monkeypatch.syspath_prepend(tmp_path / 'site')
    assert load_config(run).plugins == ['own_module']


@pytest.mark.usefixtures('clean')
@pytest.mark.parametrize('name, says', [('plugin_inside', 'names the plugin'), ('plugin_beside', 'names the plugin'),
                                        ('pipe', 'reads shards by the command')])
def test_a_folder_that_holds_a_config_alone(name, says, tiny_run, tmp_path):
    """Nothing says that a run wrote it; its weights may lie elsewhere."""
    folder = tmp_path / 'archive' / 'run'
    folder.mkdir(parents=True)
    shutil.copy(tiny_run / 'config.py', folder)
    RUNS[name](str(folder))
    error = attempt(lambda: dtbox.load(folder, tiny_run / 'checkpoint.pth'), folder.parent)
    assert says in error and '--trust-remote-code' in error


def test_what_the_user_says_is_the_users(tiny_run, tmp_path):
    """A command for shards that comes by an option is not that of the run folder."""
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    RUNS['pipe'](str(run))
    with pytest.raises(InputError, match='reads shards by the command `pipe:touch .*--trust-remote-code'):
        load_config(run)
    key = 'val_dataloader.dataset.urls'
    assert load_config(run, {key: 'pipe:cat mine.tar'}).val_dataloader.dataset.urls == 'pipe:cat mine.tar'


def test_a_grid_trusts_the_folders_that_it_has_written(tiny_run, tmp_path, monkeypatch):
    """A recipe of the user's with commands for shards: its trials read them."""
    from dtbox.ablation import trial
    from dtbox.ablation.identity import PARTS
    run = shutil.copytree(tiny_run, tmp_path / 'run')
    RUNS['pipe'](str(run))

    def stop(cfg, **_):
        raise RuntimeError(cfg.val_dataloader.dataset.urls)
    monkeypatch.setattr(Runner, 'from_config', stop)
    with pytest.raises(RuntimeError, match='pipe:touch'):
        trial.run(str(run), dict(hashes=dict.fromkeys(PARTS)))
