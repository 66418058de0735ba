"""How plugins reach a config and a run, what the run keeps of them, and what happens when they change or move."""
import json
import re
import shutil
import warnings

import pytest
import torch

import dtbox
from dtbox.config import load_config
from dtbox.errors import InputError
from dtbox.extend import LOADED
from dtbox.extend.record import pair_records
from dtbox.registry import HEADS, HOOKS, QUANTIZERS
from dtbox.runs import choose_run_folder
from dtbox.training import checkpoint
from dtbox.training.runner import Runner
from tests.plugins_kit import HEAD, SIGN, install, without_plugins, write
from tests.plugins_kit import clean as clean  # noqa: F401
from tools import print_config, reconstruct, test, train

# ---- configs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('given, cwd', [('mine', 'elsewhere'), ('plugins/mine.py', 'elsewhere'),
                                        ('../plugins/mine.py', 'elsewhere'),
                                        ('mine.py', 'root/plugins'), ('ABSOLUTE', 'elsewhere')])
def test_paths_are_those_of_the_config_file(clean, tmp_path, monkeypatch, given, cwd):
    path = write(tmp_path / 'root' / 'plugins' / 'mine.py', HEAD.format(name='Mine'))
    for file in ('mine/mine.py', 'plugins/mine.py'):
        write(tmp_path / 'elsewhere' / file, HEAD.format(name='Wrong'))
    if given == 'mine':
        path = write(tmp_path / 'root' / 'mine' / 'mine.py', HEAD.format(name='Mine')).parent
    monkeypatch.chdir(tmp_path / cwd)
    config = write(tmp_path / 'root' / 'configs' / 'deep' / 'c.py',
                   f'plugins = [{given.replace("ABSOLUTE", str(path))!r}]\nseed = 1\n')
    if given == '../plugins/mine.py':
        config = write(tmp_path / 'root' / 'configs' / 'c.py', config.read_text())
    assert load_config(config).plugins == [str(path)]
    assert 'Mine' in HEADS.module_dict and 'Wrong' not in HEADS.module_dict


def test_plugins_of_bases_options_and_arguments_add_up(clean, tmp_path, monkeypatch):
    for folder, name in (('base', 'OfBase'), ('child', 'OfChild'), ('here', 'OfOption'), ('here', 'OfArgument')):
        write(tmp_path / folder / f'{name.lower()}.py', HEAD.format(name=name))
    write(tmp_path / 'base' / 'c.py', 'plugins = "ofbase.py"\nseed = 1\n')
    config = write(tmp_path / 'child' / 'c.py', '_base_ = ["../base/c.py"]\nplugins = ["ofchild.py"]\n')
    heir = write(tmp_path / 'child' / 'heir.py', '_base_ = ["../base/c.py"]\nseed = 2\n')
    monkeypatch.chdir(tmp_path / 'here')
    assert load_config(heir).plugins == [str(tmp_path / 'base' / 'ofbase.py')]
    cfg = load_config(config, {'plugins': ['ofoption.py'], 'seed': 3},
                      plugins=['ofargument.py', tmp_path / 'child' / 'ofchild.py'])
    assert [p.rpartition('/')[2] for p in cfg.plugins] == ['ofbase.py', 'ofchild.py', 'ofargument.py',
                                                           'ofoption.py'] and cfg.seed == 3
    assert {'OfBase', 'OfChild', 'OfOption', 'OfArgument'} <= set(HEADS.module_dict)
    assert 'plugins' not in load_config(write(tmp_path / 'plain.py', 'seed = 1\n'))


def test_a_printed_config_finds_its_plugin_from_anywhere(clean, tmp_path, monkeypatch, capsys):
    write(tmp_path / 'a' / 'mine.py', HEAD.format(name='Mine'))
    (tmp_path / 'b').mkdir()
    write(tmp_path / 'c.py', 'seed = 1\n')
    monkeypatch.chdir(tmp_path / 'a')
    print_config.main(['../c.py', '--plugin', 'mine.py'])
    printed = write(tmp_path / 'b' / 'printed.py', capsys.readouterr().out)
    clean()
    monkeypatch.chdir(tmp_path / 'b')
    load_config(printed)
    assert 'Mine' in HEADS.module_dict


@pytest.mark.parametrize('given, says', [('gone.py', r'the plugin gone\.py does not exist \(tried from \S+, every '
                                          r'folder above it, and the current '
                                                     r'directory \S+\)\. .* It is named in \S+c\.py; if it has moved, '
                r'give its new place \(under the same name\): --plugin'),
                                         ('gone_pkg.x', r'is neither a module .* It is named in \S+c\.py')])
def test_a_config_whose_plugin_is_missing(clean, tmp_path, given, says):
    with pytest.raises(InputError, match=says):
        load_config(write(tmp_path / 'c.py', f'plugins = [{given!r}]\n'))


def test_a_moved_plugin_is_given_anew(clean, tmp_path):
    new = write(tmp_path / 'new' / 'mine' / '__init__.py', HEAD.format(name='Mine')).parent
    config = write(tmp_path / 'c.py', 'plugins = ["/gone/mine", "/gone/mine/__init__.py"]\n')
    assert load_config(config, plugins=[new]).plugins == [str(new)]
    with pytest.raises(InputError, match='/gone/mine does not exist'):
        load_config(config)


@pytest.mark.parametrize('path, name', [('plugins/mine/config.py', 'mine'), ('configs/mine.py', 'mine')])
def test_folder_of_a_new_run(tmp_path, path, name):
    assert choose_run_folder(load_config(write(tmp_path / path, 'seed = 1\n')).filename).path == f'work_dirs/{name}'


# ---- runs ---------------------------------------------------------------------------------------------------------

EXTRAS = '''
from mmengine.hooks import Hook
from dtbox.evaluation import Metric, MetricInfo
from dtbox.datasets.image_folder import ImageFolder
from dtbox.losses.base import Loss
from dtbox.registry import DATASETS, HOOKS, LOSSES, METRICS


@HOOKS.register_module()
class Witness(Hook):
    """Count the iterations."""
    seen = 0

    def after_train_iter(self, runner, *args, **kwargs):
        Witness.seen += 1


@METRICS.register_module()
class Brightness(Metric):
    """Mean of the reconstructions."""
    info = [MetricInfo('brightness', 'brightness', format='.3f')]
    requires = ('reconstructions',)

    def update(self, batch, outputs):
        self.add('sum', outputs.reconstructions.mean((1, 2, 3)).double().sum())

    def values(self):
        return dict(brightness=self.state['sum'].item() / self.count)


@LOSSES.register_module()
class Darkness(Loss):
    """Mean square of the reconstructions."""
    requires, names = ('reconstructions',), ('darkness',)

    def terms(self, outputs, batch):
        return dict(darkness=self.read(outputs, 'reconstructions').square().mean())


@DATASETS.register_module()
class OtherFolder(ImageFolder):
    """A folder of pictures."""
'''
OPTIONS = {'train_cfg.max_iters': 2,
           'hooks': dict(log=None, images=None, checkpoint=dict(interval=1), witness=dict(type='Witness')),
           'val_evaluator': dict(_delete_=True, psnr=dict(type='PSNR'), brightness=dict(type='Brightness')),
           'quantizer': dict(type='Signs', dim=8),
           'model.losses.darkness': dict(type='Darkness'), 'train_dataloader.dataset.type': 'OtherFolder'}


def words(tiny_config, plugin, run, *more, iters=2):
    """Return the command line of a tiny run with a plugin that has parts of every kind."""
    options = {**OPTIONS, 'train_cfg.max_iters': iters}
    pairs = [f'{k}={v}' if isinstance(v, str) else f'{k}={v!r}' for k, v in options.items()]
    return [str(tiny_config), '--work-dir', str(run), '--plugin', str(plugin), *more, '--cfg-options', *pairs]


@pytest.fixture(scope='module')
def made(tiny_config, tmp_path_factory):
    """A plugin folder and a run folder trained with it by --plugin; to be copied, not changed."""
    folder = tmp_path_factory.mktemp('made')
    write(folder / 'mine' / '__init__.py', '__version__ = "2.0"\nfrom . import signs, extras\n')
    write(folder / 'mine' / 'signs.py', SIGN.format(name='Signs'))
    write(folder / 'mine' / 'extras.py', EXTRAS)
    with without_plugins():
        train.main(words(tiny_config, folder / 'mine', folder / 'run'))
        return folder, HOOKS.get('Witness').seen


@pytest.fixture
def copy(made, clean, tmp_path):
    """A copy of the run, whose config names the plugin at its first place; and a copy of the plugin."""
    shutil.copytree(made[0] / 'run', tmp_path / 'run')
    shutil.copytree(made[0] / 'mine', tmp_path / 'mine')
    return tmp_path


def change(folder):
    """Change the plugin in a way that changes no result."""
    with open(folder / 'mine' / 'extras.py', 'a') as f:
        f.write('\nREMARK = 1\n')


def test_every_kind_of_part_reaches_a_run(made):
    folder, seen = made
    assert seen == 2
    assert json.loads((folder / 'run' / 'metrics.json').read_text())['heldout'].keys() >= {'psnr', 'brightness'}
    config = (folder / 'run' / 'config.py').read_text()
    assert f"plugins = ['{folder}/mine']" in config and "darkness=dict(type='Darkness')" in config


def test_what_is_recorded(made):
    folder, _ = made
    record, = json.loads((folder / 'run' / 'plugins.json').read_text())
    assert checkpoint.load(folder / 'run')['meta']['plugins'] == [record]
    assert record.pop('parts') == ['quantizers/Signs', 'losses/Darkness', 'datasets/OtherFolder', 'metrics/Brightness',
                                   'hooks/Witness']
    assert re.fullmatch('[0-9a-f]{16}', record.pop('hash'))
    assert record == dict(name='mine', version='2.0', kind='folder', source=f'{folder}/mine', package=None)


def test_load_finds_the_plugin_again(copy):
    assert 'Signs' not in QUANTIZERS.module_dict
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        codes = dtbox.load(copy / 'run').encode(torch.zeros(1, 3, 32, 32))
    assert codes['pixel'].shape == (1, 16, 1)


def move_away(copy, made):
    """Let the config name a place where the plugin is not."""
    file = copy / 'run' / 'config.py'
    file.write_text(file.read_text().replace(f'{made[0]}/mine', '/gone/mine'))


def test_load_from_a_new_place(copy, made):
    move_away(copy, made)
    with pytest.raises(InputError, match=r'the plugin /gone/mine does not exist\..* plugins=\[PATH\] of dtbox\.load'):
        dtbox.load(copy / 'run')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        dtbox.load(copy / 'run', plugins=[copy / 'mine'])


def test_a_place_that_is_given_goes_before_the_recorded_one(copy, made):
    change(copy)
    with pytest.warns(UserWarning, match=r'the plugin mine \(\S+/mine\) has changed since .*checkpoint\.pth was '
                      r'written: it was version 2\.0, hash '
                                         r'\w{16}, it is version 2\.0, hash \w{16}\. Results may differ'):
        dtbox.load(copy / 'run', plugins=copy / 'mine')
    assert [p.path for p in LOADED.values()] == [str(copy / 'mine')]


def test_evaluation_and_reconstruction_warn(copy, made, tiny_config, monkeypatch):
    """Command lines log the sentence, without a place in the code."""
    logged = []
    monkeypatch.setattr('mmengine.logging.print_log', lambda message, *_, **__: logged.append(message))
    change(copy)
    test.main([str(copy / 'run'), '--plugin', str(copy / 'mine'), '--out', str(copy / 'scores.json')])
    record, = json.loads((copy / 'scores.json').read_text())['evaluation']['plugins']
    assert record['source'] == str(copy / 'mine')
    assert record['hash'] != checkpoint.load(copy / 'run')['meta']['plugins'][0]['hash']
    picture = next((tiny_config.parent / 'photos' / 'val').iterdir())
    reconstruct.main([str(copy / 'run'), str(picture), '--plugin', str(copy / 'mine'), '--out', str(copy / 'out')])
    assert [line.partition(' (')[0] for line in logged if 'has changed' in line] == ['the plugin mine'] * 2


def fails(tool, args, capsys):
    """Run a command line that is refused; returns its sentence."""
    with pytest.raises(SystemExit) as left:
        tool.main(args)
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert left.value.code == 2 and len(error) == 1
    return error[0]


def test_resuming_with_a_changed_plugin(copy, made, tiny_config, capsys, clean):
    change(copy)
    before = {f: (copy / 'run' / f).read_bytes() for f in ('config.py', 'plugins.json', 'checkpoint.pth')}
    old = json.loads(before['plugins.json'])[0]['hash']
    error = fails(train, words(tiny_config, copy / 'mine', copy / 'run', '--resume', iters=3), capsys)
    new, = (p.hash for p in LOADED.values())
    assert re.search(rf'the plugin mine \(\S+/mine\) has changed .* it was version 2\.0, hash {old}, it is version '
                     rf'2\.0, hash {new}\. .*'
                     r'--accept-plugin-change', error) and new != old
    assert before == {f: (copy / 'run' / f).read_bytes() for f in before}  # nothing of the run is touched
    clean()
    train.main(words(tiny_config, copy / 'mine', copy / 'run', '--resume', '--accept-plugin-change', iters=3))
    state = checkpoint.load(copy / 'run')
    record = state['meta']['plugins'][0]
    assert state['iteration'] == 3 and (record['hash'], record['before']) == (new, [old])
    logs = ''.join(p.read_text() for p in (copy / 'run').rglob('*.log'))
    assert f'Plugin mine, version 2.0, hash {new}, was {old}, from {copy}/mine\n' in logs
    clean()
    train.main(words(tiny_config, copy / 'mine', copy / 'run', '--resume',
                     iters=4))  # what was accepted is the state of things
    assert checkpoint.load(copy / 'run')['meta']['plugins'][0]['before'] == [old]


def test_resuming_without_the_plugin(copy, tiny_config, capsys):
    options = ['train_cfg.max_iters=3', 'hooks=None', 'val_evaluator=None', 'val_dataloader=None']
    error = fails(train, [str(tiny_config), '--work-dir', str(copy / 'run'), '--resume', '--cfg-options', *options],
                  capsys)
    assert re.search(r'checkpoint\.pth was trained with the plugin mine, version 2\.0, hash \w{16}, which this run '
                     r'does not load\. It was /\S+/mine; '
                     r'give it with --plugin.*--accept-plugin-change', error)


def test_the_same_plugin_at_another_place_resumes(copy, made, tiny_config):
    move_away(copy, made)
    train.main([str(copy / 'run'), '--work-dir', str(copy / 'run'), '--resume', '--plugin', str(copy / 'mine'),
                '--cfg-options', 'train_cfg.max_iters=3'])
    state = checkpoint.load(copy / 'run')
    assert state['iteration'] == 3 and state['meta']['plugins'][0]['source'] == str(copy / 'mine')
    assert f"plugins = ['{copy}/mine']" in (copy / 'run' / 'config.py').read_text()


def test_accepting_without_resuming(tiny_config, capsys):
    assert 'goes with --resume' in fails(train, [str(tiny_config), '--accept-plugin-change'], capsys)


def test_installed_packages_are_recorded_where_they_are_used(clean, tiny_config, tmp_path, monkeypatch):
    write(tmp_path / 'signs_pkg.py', SIGN.format(name='Signs'))
    write(tmp_path / 'unused_pkg.py', HEAD.format(name='Unused'))
    install(tmp_path, 'signs-pkg', {'signs': 'signs_pkg'})
    install(tmp_path, 'unused-pkg', {'heads': 'unused_pkg'})
    monkeypatch.syspath_prepend(tmp_path)
    options = {'quantizer': dict(type='Signs', dim=8), 'train_cfg.max_iters': 1,
               'hooks': dict(_delete_=True, checkpoint=dict(type='Checkpoint', interval=1)),
               'val_dataloader': None, 'val_evaluator': None}
    Runner.from_config(load_config(tiny_config, options), work_dir=str(tmp_path / 'run')).train()
    record, = json.loads((tmp_path / 'run' / 'plugins.json').read_text())
    assert (record['kind'], record['name'], record['package'], record['version']) == ('installed', 'signs_pkg',
                                                                                      'signs-pkg', '3.1')
    assert 'plugins =' not in (tmp_path / 'run' / 'config.py').read_text()
    clean()
    dtbox.load(tmp_path / 'run')
    clean()
    monkeypatch.undo()
    with pytest.raises(InputError, match=r'trained with the plugin signs_pkg, version 3\.1, hash \w+, which is not '
                       r'loaded\. The config uses its part '
                                         r'quantizers/Signs\. Install the package signs-pkg, or give the plugin'):
        dtbox.load(tmp_path / 'run')
    dtbox.load(tmp_path / 'run', plugins=[tmp_path / 'signs_pkg.py'])


def test_plugins_loaded_from_python_are_named_by_the_run(clean, tiny_config, tmp_path):
    dtbox.extend.load_plugins(write(tmp_path / 'signs.py', SIGN.format(name='Signs')))
    dtbox.extend.load_plugins(write(tmp_path / 'unused.py', HEAD.format(name='Unused')))
    options = {'quantizer': dict(type='Signs', dim=8), 'train_cfg.max_iters': 1, 'hooks': None, 'val_dataloader': None,
               'val_evaluator': None}
    Runner.from_config(load_config(tiny_config, options), work_dir=str(tmp_path / 'run'))
    assert f"plugins = ['{tmp_path}/signs.py']" in (tmp_path / 'run' / 'config.py').read_text()


def test_a_missing_plugin_that_is_not_needed_is_warned_of(copy, tiny_run):
    state = checkpoint.load(tiny_run)
    state['meta']['plugins'] = checkpoint.load(copy / 'run')['meta']['plugins']
    checkpoint.save(state, copy / 'other.pth')
    with pytest.warns(UserWarning, match='was trained with the plugin mine, .* which is not loaded'):
        dtbox.load(tiny_run, copy / 'other.pth')


@pytest.mark.parametrize('recorded, current, expected', [
    ('a1', 'a1', ['a1']), ('a1', 'a2', ['a2']), ('a1', 'b1', ['b1']), ('a1', 'b2', [None]), ('a1', '', [None]),
    ('a1 a2', 'a2 a1', ['a1', 'a2']), ('a1 b2', 'a3 c1', ['c1', None]), ('a1 a2', 'a2 a3', ['a3', 'a2'])])
def test_which_recorded_plugin_is_which(recorded, current, expected):
    """By content first, whatever it is called now, then by name; a letter is a name, a digit the content."""
    old, new = ([dict(name=word[0], hash=word[1]) for word in text.split()] for text in (recorded, current))
    assert [before for before, _ in pair_records(old, new)] == old
    assert [after and after['name'] + after['hash'] for _, after in pair_records(old, new)] == expected


def test_runs_without_plugins_leave_no_record(tiny_run):
    assert not (tiny_run / 'plugins.json').exists() and checkpoint.load(tiny_run)['meta']['plugins'] == []
