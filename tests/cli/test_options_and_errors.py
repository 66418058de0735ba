"""What every command line does with options and errors."""
import argparse
import errno
import re
import warnings

import pytest
import torch
from PIL import Image

from dtbox.cli.guard import main_guard
from dtbox.cli.main import main as dtbox_main
from dtbox.cli.options import add_config_options, read_config
from dtbox.cli.verb import Verb
from dtbox.config.options import parse_options
from dtbox.errors import Diverged, InputError, Remark
from dtbox.registry import SEQUENCES


def parse(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_config_options(parser)
    return parser.parse_args(list(words))


def test_options_reach_the_config(tmp_path):
    (tmp_path / 'c.py').write_text("a = dict(b=1, c=[1])\nd = 'x'\n")
    cfg = read_config(parse(str(tmp_path / 'c.py'), '--cfg-options', 'a.b=2.5', 'a.c=[3,4]', 'd=None', '--cfg-options',
                            'a.c=(1,)'))
    assert cfg.a.b == 2.5 and cfg.a.c == (1,) and cfg.d is None
    assert read_config(parse(str(tmp_path / 'c.py'))).a.b == 1  # nothing is left of earlier options


@pytest.mark.parametrize('text, value', [
    ('1', 1), ('1e-3', 1e-3), ('-2', -2), ('true', True), ('False', False), ('null', None), ("'1'", '1'),
    ('plain words', 'plain words'), ("''", ''),
    ('a=b', 'a=b'), ('x,y', ['x', 'y']), ('1,2', [1, 2]), ('(1,2)', (1, 2)), ('[1,[2,x]]', None),
    ("dict(type='X', n=[1, 2], m=dict(k=(1,)))", dict(type='X', n=[1, 2], m=dict(k=(1,)))),
    ('{6: 1.0, 4: 0.6}', {6: 1.0, 4: 0.6}), ('${size}', '${size}'), ('dict(a', None)])
def test_values_are_literals(text, value):
    if text in ('[1,[2,x]]', 'dict(a'):
        with pytest.raises(InputError, match='is not a Python literal'):
            parse_options([f'k={text}'])
    else:
        found = parse_options([f'k={text}'])['k']
        assert found == value and type(found) is type(value)


def test_a_path_stays_a_path(tmp_path):
    path = tmp_path / 'a,b'
    path.write_text('')
    assert parse_options([f'data_root={path}']) == dict(data_root=str(path))


@pytest.mark.parametrize('pair', ['a.b', '=3', ''])
def test_options_that_are_none(pair):
    with pytest.raises(InputError, match='expected KEY=VALUE'):
        parse_options([pair])


@pytest.mark.parametrize('error, code, line', [
    (InputError('too big.', 'model.size'), 2, 'error: model.size: too big.\n'),
    (Diverged('`l2` is nan.'), 1, 'stopped: `l2` is nan.\n'),
    (OSError(errno.ENOSPC, 'No space left on device', 'a/b.pth'), 2,
     'error: no space is left on the disk for a/b.pth. Make room and run the '
     'command again (a run or grid resumes with --resume).\n'),
    (OSError(errno.EROFS, 'Read-only file system', '/a/b'), 2,
     'error: /a/b cannot be read or written (Read-only file system). Mend that, or give another place.\n'),
    (KeyboardInterrupt(), 130, 'interrupted.\n')])
def test_errors_are_one_sentence(error, code, line, capsys):
    @main_guard
    def main(argv=None):
        raise error
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code and capsys.readouterr().err == line and left.value.__cause__ is None


@pytest.mark.parametrize('work, said', [
    (lambda: torch.empty(2 ** 50), r"can't allocate memory: you tried to allocate 4503599627370496 bytes\. Error code"),
    (lambda: fail(torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 1 GiB.')),
     r'CUDA out of memory\. Tried to allocate 20\.00 GiB\)\. Lower batch_size'),
    (lambda: bytearray(2 ** 62), r'\(MemoryError\)\. Lower batch_size')])
def test_too_little_memory_is_one_sentence(work, said, capsys):
    """On a CPU, where torch tells it by the words alone; on a GPU; in Python."""
    with pytest.raises(SystemExit) as left:
        main_guard(lambda argv=None: work())()
    error = capsys.readouterr().err
    assert left.value.code == 2 and error.startswith('error: there is not enough memory (') and re.search(said, error)
    assert error.count('\n') == 1


def fail(error):
    raise error


def test_other_errors_keep_their_traceback():
    @main_guard
    def main(argv=None):
        """Doc."""
        if argv:
            raise ValueError('a bug')
        return 3
    assert main() == 3 and main.__doc__ == 'Doc.'
    with pytest.raises(ValueError, match='a bug'):
        main(['x'])
    with pytest.raises(RuntimeError, match='another'):
        main_guard(lambda argv: fail(RuntimeError('another')))([])
    with pytest.raises(FileNotFoundError):
        main_guard(lambda argv: open('/no/such/file'))([])


def test_a_text_tokenizer_that_is_there_stays(tmp_path, capsys):
    (tmp_path / 'tokenizer.json').write_text('mine')
    with pytest.raises(SystemExit) as left:
        dtbox_main(['train-text-tokenizer', 'siglip_tiny_twemoji', str(tmp_path / 'tokenizer.json')])
    assert left.value.code == 2 and 'exists already; nothing in it was changed' in capsys.readouterr().err
    assert (tmp_path / 'tokenizer.json').read_text() == 'mine'


def test_bpe_of_training_texts(tmp_path, capsys):
    """Every text comes back from its ids, and the tokens of sequences are there."""
    out, config = tmp_path / 'bpe.json', tmp_path / 'config.py'
    config.write_text("train_dataloader = dict(dataset=dict(type='Twemoji', limit=40))")
    dtbox_main(['train-text-tokenizer', str(config), str(out), '--kind', 'bpe', '--size', '400'])
    tokens = SEQUENCES.build(dict(type='TokenizerFile', file=str(out)))
    assert tokens.vocab_size == 400 and not tokens.added and tokens.decode(tokens.encode('any é text')) == 'any é text'
    assert 'bpe.json: 400 entries from 40 samples' in capsys.readouterr().out


def test_a_second_prediction_takes_a_new_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('dtbox.cli.scale.predict', lambda args: f'to {args.out}')
    (tmp_path / 'out').mkdir()
    for name in ('out', 'out.1'):
        dtbox_main(['scale', 'vqgan', '--gpus', '1', '--out', str(tmp_path / 'out')])
        assert f'to {tmp_path / name}\n' in capsys.readouterr().out
        (tmp_path / 'out' / 'scale.md').write_text('mine')


def test_remarks_are_logged_as_sentences(monkeypatch, recwarn):
    """Those of dtbox and of Pillow; other warnings keep their place in the code."""
    logged, before = [], warnings.showwarning
    monkeypatch.setattr('mmengine.logging.print_log', lambda message, *_, **__: logged.append(message))

    def run(args):
        for kind in (Remark, Image.DecompressionBombWarning, DeprecationWarning):
            warnings.warn(f'of {kind.__name__}', kind, stacklevel=1)
    Verb('say', 'Says', 'nothing', 'dtbox say', lambda parser: None, run).main([])
    assert logged == ['of Remark', 'of DecompressionBombWarning'] and warnings.showwarning is before
    assert [str(one.message) for one in recwarn] == ['of DeprecationWarning']
