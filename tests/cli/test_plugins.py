"""dtbox plugins: what there is, a plugin to start from, and the contract as a table."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dtbox import testing
from dtbox.cli import plugins
from dtbox.config import load_config
from dtbox.extend import catalog
from dtbox.layout import Grid
from dtbox.registry import ALL, QUANTIZERS
from dtbox.testing import CONTRACTS
from tests.plugins_kit import HEAD, SIGN, install, write
from tests.plugins_kit import clean as clean  # noqa: F401

pytestmark = pytest.mark.usefixtures('clean')


@pytest.fixture
def few(monkeypatch):
    """Let the tool run a few quick checks, and note what it was asked for."""
    asked = []

    def run(cfg, plugins=(), kind=None, real=testing.run_checks):
        asked.append((cfg, list(plugins)))
        checks = dict(quantizer=['sizes', 'decode_equals_forward', 'parameters_get_gradient'])
        return real(cfg, plugins, only=checks.get(kind, list(CONTRACTS[kind].checks)[:1]), kind=kind)
    monkeypatch.setattr(testing, 'run_checks', run)
    return asked


def call(capsys, *words):
    """Run a command line; returns exit code, output, and what went to stderr."""
    code = 0
    try:
        plugins.VERB.main([str(w) for w in words])
    except SystemExit as e:
        code = e.code
    return code, *capsys.readouterr()


# ---- list ---------------------------------------------------------------------------------------------------------


def test_list_names_every_part_in_the_width_of_the_terminal(capsys, monkeypatch, tmp_path):
    write(tmp_path / 'mine.py', SIGN.format(name='Signs') + '\n\nfrom mmengine.registry import VISBACKENDS\n'
          'VISBACKENDS.register_module(name="Elsewhere", module=Signs)\n')
    monkeypatch.chdir(tmp_path)
    for width in (50, 100, 160):
        monkeypatch.setenv('COLUMNS', str(width))
        code, out, _ = call(capsys, 'list', '--plugin', 'mine.py')
        lines = out.splitlines()
        assert code == 0 and max(map(len, lines)) <= width
        if width == 50:
            continue
        columns = [re.split(r' {2,}', line) for line in lines if not line.startswith(' ')]
        assert columns[0][:4] == ['name', 'room', 'from', 'paper']
        found = {(c[0], c[1]) for c in columns[1:]}
        assert found == {(n, room) for room, registry in ALL.items()
                         for n in registry.module_dict} | {('Elsewhere', 'mmengine vis_backend')}
        assert ['Signs', 'quantizers', 'mine.py', '0000.11111'] in [c[:4] for c in columns]
        assert ['FSQ', 'quantizers', 'dtbox', '2309.15505'] in [c[:4] for c in columns]
        starts = {line.index('dtbox') for line in lines if re.match(r'\w+ +quantizers +dtbox', line)}
        assert len(starts) == 1  # aligned
    assert re.search(r'mine\.py +0000\.11111 +One bit per channel\.\n', out)


def test_list_of_one_room_and_of_the_plugins_of_a_config(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('COLUMNS', '140')
    write(tmp_path / 'mine' / 'mine.py', HEAD.format(name='Mine').replace('    """A head from outside."""',
                                                                          '    size = 1'))
    config = write(tmp_path / 'c.py', 'plugins = ["mine"]\n')
    write(tmp_path / 'shop.py', HEAD.format(name='Bought'))
    install(tmp_path, 'head-shop', {'heads': 'shop'})
    monkeypatch.syspath_prepend(tmp_path)
    _, out, _ = call(capsys, 'list', config, '--room', 'heads')
    rows = {line.split()[0]: re.split(r' {2,}', line) for line in out.splitlines()[1:] if line[0] != ' '}
    assert set(rows) == {'Mine', 'Bought', 'TrunkPool', *ALL['heads'].module_dict}
    assert rows['Mine'][-1] == 'A plugin.'  # of its module, where the class says nothing
    assert rows['Bought'] == ['Bought', 'heads', 'head-shop 1.2', 'A head from outside.']
    code, _, err = call(capsys, 'list', '--room', 'head')
    assert code == 2 and '`head` is not a room. Did you mean `heads`' in err


@pytest.mark.parametrize('text, first, ids', [
    ('One bit. And more.', 'One bit.', ()), ('No end', 'No end', ()), (None, '', ()),
    ('Over\n    two lines (FSQ, arXiv 2309.15505), e.g. this. Next.',
     'Over two lines (FSQ, arXiv 2309.15505), e.g. this.', ('2309.15505',)),
    ('First.\n\nSee https://arxiv.org/abs/1711.00937, arXiv:2203.01941 and arXiv\n2203.01941; 1234.5678 is none.',
     'First.',
     ('1711.00937', '2203.01941'))])
def test_what_docstrings_say(text, first, ids):
    assert catalog.take_first_sentence(text) == first and catalog.find_papers(text) == ids


# ---- new ----------------------------------------------------------------------------------------------------------


def test_new_says_what_comes_next(capsys, monkeypatch, tmp_path, few):
    """The folder may be moved; its config finds the plugin beside it, and `check` runs the contract."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, 'new', 'quantizer', 'MyIdea', '--dir', 'deep/plugins')
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file()}
    assert code == 0
    assert files == {f'deep/plugins/MyIdea/{f}' for f in ('__init__.py', 'config.py', 'README.md', 'test_MyIdea.py')}
    assert all(f in out for f in files) and 'dtbox plugins check MyIdea --plugin deep/plugins/MyIdea' in out
    (tmp_path / 'deep').rename(tmp_path / 'moved')
    config = tmp_path / 'moved/plugins/MyIdea/config.py'
    cfg = load_config(config)
    assert cfg.quantizer.to_dict() == dict(type='MyIdea', dim=16) and cfg.plugins == [str(config.parent)]
    assert cfg.model.tokenizer.vocabularies.pixel.quantizer == '${quantizer}'
    code, out, _ = call(capsys, 'check', 'MyIdea', '--plugin', 'moved/plugins/MyIdea')
    assert code == 0 and few == [(dict(type='MyIdea', dim=8), [str(config.parent)])]
    code, _, err = call(capsys, 'check', 'moved/plugins/MyIdea')  # not its recipe's parts, which are others
    assert code == 2 and 'is a plugin, not a config. Name the part and the plugin: check NAME --plugin' in err


@pytest.mark.parametrize('name, says', [
    ('my-idea', r'`my-idea` cannot be the name of a class'), ('class', r'`class` cannot'),
    ('_hidden', r'`_hidden` cannot'), ('2fast', r'`2fast` cannot'),
    ('../up', r'cannot be'), ('FSQ', r'the quantizer `FSQ` exists already'),
    ('fsq', r'the quantizer `FSQ` exists already'),
    ('Signs', r'the quantizer `Signs` exists already'), ('Here', r'Here exists already; nothing in it was changed')])
def test_new_refuses(capsys, tmp_path, name, says):
    plugin = write(tmp_path / 'mine.py', SIGN.format(name='Signs'))
    write(tmp_path / 'plugins' / 'Here' / 'precious.txt', 'mine')
    code, out, err = call(capsys, 'new', 'quantizer', name, '--dir', tmp_path / 'plugins', '--plugin', plugin)
    assert code == 2 and re.search(says, err) and out == ''
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob('*'))
            if p.is_file() and p.suffix != '.pyc'] == ['mine.py', 'plugins/Here/precious.txt']


def test_new_into_a_file(capsys, tmp_path):
    code, _, err = call(capsys, 'new', 'quantizer', 'MyIdea', '--dir', write(tmp_path / 'file', ''))
    assert code == 2 and 'is a file. Give --dir a folder' in err


# ---- check --------------------------------------------------------------------------------------------------------


def test_check_of_a_name(capsys, few, monkeypatch):
    monkeypatch.setattr(QUANTIZERS.get('FSQ'), 'example', dict(levels=[3, 4]), raising=False)
    code, out, _ = call(capsys, 'check', 'FSQ')
    assert code == 0 and few == [(dict(type='FSQ', levels=[3, 4]), [])]
    assert "FSQ: dict(type='FSQ', levels=[3, 4])" in out and '2 hold, 0 fail, 1 do not apply.' in out
    assert re.search(r'\ncheck +status +time +detail\nsizes +holds +\d\.\d\d s\n', out)
    call(capsys, 'check', 'FSQ', '--cfg-options', 'levels=[3,3]', 'estimator.type=StraightThrough')
    assert few[1][0] == dict(type='FSQ', levels=[3, 3], estimator=dict(type='StraightThrough'))


def test_check_of_what_breaks_the_contract(capsys, few, monkeypatch, tmp_path):
    plugin = write(tmp_path / 'mine.py', SIGN.format(name='Signs').replace('* 2.0 - 1.0', '* 2.0 - 1.5'))
    for width in (80, 150):
        monkeypatch.setenv('COLUMNS', str(width))
        code, out, _ = call(capsys, 'check', 'Signs', '--plugin', plugin)
        assert code == 1 and '1 hold, 1 fail, 1 do not apply.' in out and max(map(len, out.splitlines())) <= width
        assert re.search(r'decode_equals_forward +fails +\d\.\d\d s +\w+', out)
    assert few[0] == (dict(type='Signs', dim=6), [str(plugin)])


def test_check_of_a_config(capsys, few, tiny_config, tmp_path):
    plugin = write(tmp_path / 'mine.py', SIGN.format(name='Signs'))
    code, out, _ = call(capsys, 'check', tiny_config)
    assert code == 0
    assert [cfg for cfg, _ in few] == [dict(type='RQ', size=64, dim=8, depth=2)]
    assert 'RQ of pixel, semantic: dict(' in out
    code, out, _ = call(capsys, 'check', tiny_config, '--plugin', plugin, '--cfg-options',
                        "model.tokenizer.vocabularies.pixel.quantizer=dict(type='Signs', dim=4)")
    assert code == 0
    assert few[1:] == [(dict(type='Signs', dim=4), [str(plugin)]),
                       (dict(type='RQ', size=64, dim=8, depth=2), [str(plugin)])]
    assert 'Signs of pixel:' in out and 'RQ of semantic:' in out


def test_check_of_a_config_whose_vocabularies_share_a_quantizer(capsys, few, tiny_config):
    joint = dict(type='JointVQ', size=8, members=dict(pixel=4, semantic=4))
    share = [f'model.tokenizer.vocabularies.{name}.quantizer=joint' for name in ('pixel', 'semantic')]
    code, out, _ = call(capsys, 'check', tiny_config, '--cfg-options',
                        f'model.tokenizer.quantizers={dict(joint=joint)}', *share)
    assert code == 0 and [cfg for cfg, _ in few] == [joint] and 'JointVQ of pixel, semantic: dict(' in out
    code, _, err = call(capsys, 'check', tiny_config, '--cfg-options', *share)
    assert code == 2 and '`joint` is not a quantizer of the tokenizer; `quantizers` has: none' in err


def test_a_quantizer_goes_before_a_folder_of_its_name(capsys, few, tmp_path, monkeypatch):
    write(tmp_path / 'Signs' / '__init__.py', SIGN.format(name='Signs'))
    monkeypatch.chdir(tmp_path)
    assert call(capsys, 'check', 'Signs', '--plugin', 'Signs')[0] == 0 and few[0][0] == dict(type='Signs', dim=6)


def without_example(folder):
    """Write a plugin whose class has no `example`."""
    return write(folder / 'mine.py', SIGN.format(name='Signs').replace('    example = dict(dim=6)\n', ''))


@pytest.mark.parametrize('words, says', [
    (['Sign', '--plugin', 'PLUGIN'], r'`Sign` is not registered as a part of these kinds: .* Did you mean `Signs`'),
    (['gone.py'], r'the config gone\.py does not exist'), (['gone/run'], r'the config gone/run does not exist'),
    (['Signs', '--plugin', 'PLUGIN'], r'`Signs` needs the argument `dim`.* has no `example`: add one, such as '
     r'.*--cfg-options KEY=VALUE'),
    (['Signs', '--plugin', 'PLUGIN', '--cfg-options', 'dmi=3'],
     r'quantizer\.dmi: there is no such key .*Did you mean `dim`'),
    (['CONFIG', '--cfg-options', 'quantizer.sise=3'], r'Did you mean `size`'),
    (['CONFIG', '--cfg-options', 'model.tokenizer.vocabularies.pixel.quantizer=None'],
     r'vocabularies\.pixel: the vocabulary has no `quantizer`'),
    (['PLAIN'], r'has no `model\.tokenizer\.vocabularies`'),
    (['PLUGIN', '--plugin', 'gone.py'], r'the plugin gone\.py does not exist')])
def test_check_refuses(capsys, few, tiny_config, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    table = dict(CONFIG=tiny_config, PLUGIN=without_example(tmp_path), PLAIN=write(tmp_path / 'plain.py', 'seed = 1\n'))
    code, out, err = call(capsys, 'check', *(table.get(w, w) for w in words))
    assert code == 2 and re.search(says, err) and not few and out == ''


def test_arguments_stand_in_for_an_example(capsys, few, tmp_path):
    assert call(capsys, 'check', 'Signs', '--plugin', without_example(tmp_path), '--cfg-options', 'dim=3')[0] == 0
    assert few[0][0] == dict(type='Signs', dim=3)


# ---- check, of the other kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize('name, first', [('TimmViT', 'sizes'), ('ViTDecoder', 'images'), ('L2Loss', 'legal_paths'),
                                         ('PSNR', 'values'),
                                         ('MeanPool', 'shape'), ('Twemoji', 'length')])
def test_check_finds_the_kind_of_a_name(capsys, few, name, first):
    """The contract is that of the registry which has the name."""
    code, out, _ = call(capsys, 'check', name)
    assert code == 0 and out.startswith(f'{name}: dict(') and re.search(rf'\n{first} +holds', out)


@pytest.mark.parametrize('kind, types', [
    ('encoder', ['TimmViT']), ('decoder', ['LightCNNDecoder']), ('head', ['TrunkPool']),
    ('loss', ['SemanticLoss', 'PooledLoss', 'CommitmentLoss', 'L2Loss']), ('dataset', ['ImageFolder', 'ImageFolder']),
    ('metric', ['PSNR', 'SSIM', 'FrechetDistance', 'TokenCosine', 'Retrieval', 'CodeUsage'])])
def test_check_of_a_config_by_kind(capsys, few, tiny_config, kind, types):
    """With --kind, all parts of that kind in a config are checked, with the sizes that other parts give them."""
    code, _, err = call(capsys, 'check', tiny_config, '--kind', kind)
    assert code == 0, err
    assert [cfg['type'] for cfg, _ in few] == types
    if kind == 'decoder':
        sizes = dict(in_dim=32, layout=Grid(4, 4), image_size=(32, 32))
        assert few[0][0] == dict(type='LightCNNDecoder', width=32, blocks=1, **sizes)
    assert all('weight' not in cfg for cfg, _ in few if kind == 'loss')


def test_a_name_of_two_kinds(capsys, few, tmp_path):
    """Where a name stands in two registries, --kind says which is meant."""
    plugin = write(tmp_path / 'two.py', 'from dtbox.registry import HEADS, LOSSES\nfrom dtbox.heads.pools import '
                   'MeanPool\nfrom '
                   'dtbox.losses.pixel import L2Loss\nHEADS.register_module("Two", module=MeanPool)\n'
                   'LOSSES.register_module("Two", module=L2Loss)\n')
    code, _, err = call(capsys, 'check', 'Two', '--plugin', plugin)
    assert code == 2 and '`Two` is a loss and a head. Say which: --kind loss' in err
    code, out, _ = call(capsys, 'check', 'Two', '--kind', 'loss', '--plugin', plugin)
    assert code == 0 and 'legal_paths  holds' in out


def test_what_is_not_such_a_part(capsys, few):
    code, _, err = call(capsys, 'check', 'AdversarialLoss')
    assert code == 2 and '`AdversarialLoss` does not derive from dtbox.losses.base.Loss' in err


def test_plugins_of_this_repository_load_together():
    """Their names do not collide, with dtbox's or with each other's; in a process that has none of them yet."""
    root = Path(__file__).parents[2]
    folders = sorted(str(p.parent) for p in root.glob('plugins/*/config.py'))  # others are for other programs
    done = subprocess.run([sys.executable, '-c', 'from dtbox.extend import load_plugins; print([len(p.parts) for p in '
                           f'load_plugins({folders})])'],
                          capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert len(folders) >= 3 and done.stdout.strip() == str([1] * len(folders))


@pytest.mark.parametrize('words', [('new', 'decodr', 'Mine'), ('check', 'RQ', '--kind', 'decodr')])
def test_a_misspelt_kind(words, capsys):
    with pytest.raises(SystemExit):
        plugins.VERB.main(list(words))
    assert 'there is no kind `decodr`. Did you mean `decoder` or `encoder`? Kinds: encoder, ' in capsys.readouterr().err
