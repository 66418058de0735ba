"""Config files and command lines as editors, shells and hands leave them: read, or refused in one sentence."""
import pytest

from dtbox.cli.main import main
from dtbox.cli.verbs import load_verb
from dtbox.config import load_config, resolve
from dtbox.config.options import parse_options
from dtbox.errors import InputError
from dtbox.runs import RunFolder
from dtbox.training.runner import Runner

BASE = "_base_ = ['vqgan']\n"


def write(folder, text, name='c.py'):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_bases_in_a_circle(tmp_path):
    """Files that name each other, or themselves."""
    write(tmp_path, "_base_ = ['b.py']\n", 'a.py')
    write(tmp_path, "_base_ = ['a.py']\n", 'b.py')
    with pytest.raises(InputError, match='_base_: the bases of configs close a circle: a.py -> b.py -> a.py'):
        load_config(tmp_path / 'a.py')
    with pytest.raises(InputError, match='c.py -> c.py'):
        load_config(write(tmp_path, "_base_ = './c.py'\n"))
    with pytest.raises(InputError, match='its base `.` is missing; .* is a folder'):
        load_config(write(tmp_path, "_base_ = ['.']\n"))


@pytest.mark.parametrize('name, text', [
    ('c.py', b'\xef\xbb\xbf' + BASE.encode() + b'max_iters = 7\r\n'),
    ('c.py', '# -*- coding: latin-1 -*-\n# \xe9\n'.encode('latin-1') + BASE.encode() + b'max_iters = 7\n'),
    ('c.json', b'\xef\xbb\xbf{"_base_": ["vqgan"], "max_iters": 7}'),
    ('c.json', '{"_base_": ["vqgan"], "max_iters": 7}'.encode('utf-16')),
    ('c.yaml', b'\xef\xbb\xbf_base_: [vqgan]\r\nmax_iters: 7\r\n')])
def test_encodings(name, text, tmp_path):
    """Byte order marks, coding lines and Windows line ends are read as Python, JSON and YAML read them."""
    assert load_config(write(tmp_path, text, name)).max_iters == 7


@pytest.mark.parametrize('text, says', [
    ('import sys\nsys.exit(0)\n', 'SystemExit: 0'), ('_x = []\n_x.append(_x)\n', 'nested deeper than 100 levels'),
    ('_x = {}\n_x["a"] = _x\n', 'nested deeper than 100'), ('_x = []\nfor _ in range(3000): _x = [_x]\n', 'nested')])
def test_refused_files(text, says, tmp_path):
    """A file that ends the process, or whose values no reader could follow to their end."""
    with pytest.raises(InputError, match=f'c.py cannot be read: .*{says}'):
        load_config(write(tmp_path, text))


def test_a_long_chain_of_references(tmp_path):
    chain = ''.join(f"_v{i} = '${{_v{i + 1}}}'\n" for i in range(800))
    cfg = load_config(write(tmp_path, f'{chain}_v800 = 7\n'))
    with pytest.raises(InputError, match='ends a chain of 50 references'):
        resolve(cfg)


def test_tiny_that_is_no_dict(tmp_path):
    with pytest.raises(InputError, match='--tiny: .* has no dict `tiny`'):
        load_config(write(tmp_path, f'{BASE}tiny = 3\n'), tiny=True)


@pytest.mark.parametrize('value', ["dict(**{'type': 'VQ'})", 'dict(size=64, size=32)'])
def test_values_that_are_no_plain_dict(value, tmp_path):
    """Nothing of them is guessed; a run folder's config is read by the same rule."""
    with pytest.raises(InputError, match='is not a Python literal'):
        parse_options([f'quantizer={value}'])
    write(tmp_path, f'quantizer = {value}\n', 'config.py')
    with pytest.raises(InputError, match='line 1 of .* would have to be run'):
        load_config(tmp_path)


@pytest.mark.parametrize('words, where', [
    (['--cfg-options', 'load_from='], '--cfg-options'), (['--work-dir', ''], 'after --work-dir'),
    (['--work-dir='], '--work-dir'), (['--data', ' '], 'after --data')])
def test_shell_variables_that_are_not_set(words, where, tmp_path, monkeypatch, capsys):
    """They would start from no weights, or in another folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(['train', 'vqgan', '--tiny', *words])
    said = capsys.readouterr().err
    assert left.value.code == 2 and where in said and 'shell variable' in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize('key, value, says', [
    ('load_from', '', "`load_from` is ''; expected a string that is not empty or None"),
    ('work_dir', ' ', 'expected a string that is not empty'), ('threads', 100_000, 'from 1 to 1024'),
    ('model', None, '^model: the config has no `model`. It has: .*seed.$')])
def test_values_from_python(key, value, says, tiny_config, tmp_path):
    """As many threads end the process in torch."""
    with pytest.raises(InputError, match=says):
        Runner.from_config(load_config(tiny_config, {key: value}), work_dir=str(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('words', [['train', 'vqgan', '--work-dir'], ['report', 'x', '--out']])
def test_places_whose_names_are_not_utf_8(words, tmp_path, monkeypatch, capsys):
    """Much of what writes there takes no such name, and would say so after the training."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main([*words, 'a\udcffb'])
    assert left.value.code == 2 and 'is not UTF-8' in capsys.readouterr().err and not list(tmp_path.iterdir())
    with pytest.raises(InputError, match='is not UTF-8'):
        RunFolder('a\udcffb').prepare(resume=False)


def test_home_folder(monkeypatch):
    """Shells leave `~/` behind `=`."""
    monkeypatch.setenv('HOME', '/home/me')
    assert parse_options(['data_root=~/images', 'x=a~/b']) == dict(data_root='/home/me/images', x='a~/b')
    args = load_verb('train').parse(['~/c.py', '--work-dir=~/run', '--cfg-options', 'x=~'])
    assert (args.config, args.work_dir) == ('/home/me/c.py', '/home/me/run') and args.cfg_options == ['x=~']


def test_current_folder_that_is_gone(tmp_path, monkeypatch, capsys):
    """What libraries say of it names anything but the folder."""
    (tmp_path / 'x').mkdir()
    monkeypatch.chdir(tmp_path / 'x')
    (tmp_path / 'x').rmdir()
    with pytest.raises(SystemExit):
        main(['print-config', 'vqgan'])
    assert 'the current folder is gone' in capsys.readouterr().err


def test_list_with_a_broken_config(tmp_path, monkeypatch, capsys):
    """One file that is not Python does not hide the others."""
    (tmp_path / 'configs').mkdir()
    write(tmp_path / 'configs', 'x = [\n', 'broken.py')
    monkeypatch.chdir(tmp_path)
    main(['print-config', '--list'])
    said = capsys.readouterr().out
    assert 'cannot be read: SyntaxError' in said and 'dualtoken_rq' in said
