"""Plugins whose part became built in: configs get an error that says so, and runs trained with them still open and
resume."""
import json
import re
import shutil
import warnings

import pytest
import torch

import dtbox
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.extend import load_plugins
from dtbox.registry import ALL
from dtbox.renames import BUILT_IN_PLUGINS
from dtbox.training import checkpoint
from tests.plugins_kit import clean as clean  # noqa: F401
from tests.plugins_kit import write
from tools import train

pytestmark = pytest.mark.usefixtures('clean')


@pytest.mark.parametrize('name', BUILT_IN_PLUGINS)
def test_the_part_is_there(name):
    """What the table promises is registered by dtbox itself."""
    room, _, part = BUILT_IN_PLUGINS[name].partition('/')
    assert ALL[room].get(part).__module__.startswith(f'dtbox.{room}.')


@pytest.mark.parametrize('given', ['plugins/bsq', 'bsq', './plugins/bsq/__init__.py', '/old/clone/plugins/bsq'])
def test_a_config_that_names_one(tmp_path, given):
    config = write(tmp_path / 'mine.py', f'plugins = [{given!r}]\n')
    with pytest.raises(InputError, match=re.escape(f'the plugin {given} is built in since dtbox 0.2.0: `BSQ` needs no '
                                                   'plugin. '
                                                   f'Remove it from `plugins` of {config}.')):
        load_config(config)


def test_an_option_that_names_one():
    with pytest.raises(InputError, match=r'the plugin plugins/lfq is built in .* `LFQ` needs no plugin\. Remove it '
                       r'from --plugin'):
        load_plugins(['plugins/lfq'])


@pytest.fixture(scope='module')
def trained(tiny_config, tmp_path_factory):
    """A run with LFQ that looks as if it had been trained when LFQ was a plugin; to be copied, not changed."""
    run = tmp_path_factory.mktemp('old') / 'run'
    options = ["quantizer=dict(type='LFQ', dim=8)", 'train_cfg.max_iters=1', 'val_dataloader=None',
               'val_evaluator=None']
    train.main([str(tiny_config), '--work-dir', str(run), '--cfg-options', *options])
    record = dict(name='lfq', version=None, hash='0123456789abcdef', kind='folder', source='/old/clone/plugins/lfq',
                  package=None,
                  parts=['quantizers/LFQ'])
    return run, record


def make_old(trained, folder, **changes):
    """Copy the run and record the plugin in config.py, plugins.json and the checkpoint."""
    run, record = trained
    record = {**record, **changes}
    shutil.copytree(run, folder)
    with open(folder / 'config.py', 'a') as f:
        f.write(f"\nplugins = ['{record['source']}']\n")
    (folder / 'plugins.json').write_text(json.dumps([record]))
    state = checkpoint.load(folder)
    state['meta']['plugins'] = [record]
    checkpoint.save(state, folder / 'checkpoint.pth')
    return folder


def test_a_run_trained_with_one_opens(trained, tmp_path, caplog):
    """One line says that the built-in part is used; nothing else is said."""
    run = make_old(trained, tmp_path / 'run')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        codes = dtbox.load(run).encode(torch.zeros(1, 3, 32, 32))
    assert codes['pixel'].shape == (1, 16, 1)
    assert [r.getMessage() for r in caplog.records if r.name == 'dtbox'] == [
        f'{run} was trained with the plugin lfq; its part `LFQ` is built in since dtbox 0.2.0 and is used instead.']


def test_a_run_trained_with_one_resumes(trained, tmp_path):
    """The record of the plugin goes; the run opens afterwards like any other."""
    run = make_old(trained, tmp_path / 'run')
    train.main([str(run), '--work-dir', str(run), '--resume', '--cfg-options', 'train_cfg.max_iters=2'])
    state = checkpoint.load(run)
    assert (state['iteration'], state['meta']['plugins']) == (2, [])
    assert not (run / 'plugins.json').exists() and 'plugins = ' not in (run / 'config.py').read_text()
    dtbox.load(run)


def test_a_plugin_of_that_name_with_other_parts(trained, tmp_path):
    """A user's own plugin that happens to be called lfq is missing, not built in."""
    run = make_old(trained, tmp_path / 'run', parts=['quantizers/LFQ', 'heads/Mine'])
    with pytest.raises(InputError, match='built in since dtbox 0.2.0'):
        dtbox.load(run)
