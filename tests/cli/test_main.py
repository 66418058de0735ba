"""The command itself: list of verbs, help, version, unknown verbs, and how quickly it starts."""
import logging
import os
import re
import subprocess
import sys

import pytest

import dtbox
from dtbox.cli.main import main
from dtbox.cli.verb import Verb
from dtbox.cli.verbs import VERBS, load_verb
from dtbox.packaged import find_packaged_folder

TOOLS = find_packaged_folder('tools')


def run(capsys, *words):
    """Run `dtbox WORDS`; returns (exit code, stdout, stderr)."""
    code = 0
    try:
        main(list(words))
    except SystemExit as stopped:
        code = stopped.code or 0
    return code, *capsys.readouterr()


@pytest.mark.parametrize('words', [(), ('--help',), ('-h',), ('help',)])
def test_list_of_verbs(words, capsys):
    code, out, _ = run(capsys, *words)
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith('  ')}
    assert code == 0 and list(lines) == list(VERBS)
    assert all(lines[name].split(maxsplit=1)[1] == load_verb(name).summary for name in VERBS)


@pytest.mark.parametrize('name', VERBS)
def test_help_of_a_verb(name, capsys, monkeypatch):
    """What it does, what it prints and writes, and an example that the parser of the verb takes."""
    monkeypatch.setenv('COLUMNS', '100')
    code, out, _ = run(capsys, name, '--help')
    verb = load_verb(name)
    text = ' '.join(out.split())
    assert code == 0 and text.startswith(f'usage: dtbox {name} ')
    assert f'{verb.summary}.' in text and f'Output: {verb.output}' in text
    assert verb.name == name and f'\nExample: {verb.example}\n' in out and verb.example.startswith(f'dtbox {name} ')
    assert verb.parse(verb.example.split()[2:]).typed == verb.example.split()[2:]
    assert run(capsys, 'help', name)[1].split() == out.split()
    assert max(map(len, out.splitlines())) <= 120 and '  None' not in out


def test_version(capsys):
    assert run(capsys, '--version') == (0, f'dtbox {dtbox.__version__}\n', '')


@pytest.mark.parametrize('word, says', [
    ('tran', '`tran` is not a verb of dtbox. Did you mean `train`?'), ('check_data', 'Did you mean `check-data`'),
    ('--tiny', '`--tiny` is not an option of dtbox.')])
def test_unknown_verb(word, says, capsys):
    code, out, err = run(capsys, word)
    assert code == 2 and out == '' and says in err and err.startswith('error: ')
    assert run(capsys, 'help', word)[0] == 2


def test_renamed_option(capsys):
    code, _, err = run(capsys, 'diagnose', 'semantics', 'RUN', '--pictures', '3')
    assert code == 2 and '`--pictures` is now called `--images`' in err


def test_help_imports_nothing_heavy():
    """Neither `dtbox --help`, with all verbs, nor the help of a verb imports torch, numpy or mmengine."""
    code = ('import sys\nfrom dtbox.cli.main import main\n'
            'from dtbox.cli.completion import build_parser\nmain(["--help"])\nbuild_parser().format_help()\n'
            'print("heavy", *[m for m in ("torch", "numpy", "mmengine", "dtbox.registry") if m in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == 'heavy'


@pytest.mark.parametrize('command', [['-m', 'dtbox'], [os.path.join(TOOLS, 'train.py')]], ids=['module', 'tool'])
def test_start_from_another_folder(command, tmp_path):
    """`python -m dtbox` and a file of tools/, started in an empty folder: help, and a sentence for a missing config."""
    env = dict(os.environ, PYTHONPATH=os.path.dirname(TOOLS))
    words = [] if command[0].endswith('.py') else ['train']
    done = subprocess.run([sys.executable, *command, *words, 'gone'], capture_output=True, text=True, cwd=tmp_path,
                          env=env)
    assert done.returncode == 2
    assert done.stderr.startswith('error: the config gone does not exist.')
    assert not os.listdir(tmp_path)


def test_every_tool_is_three_lines_over_its_verb():
    """What users type stays: one file a verb, `convert_checkpoint.py` for `convert`."""
    for name in VERBS:
        file = 'convert_checkpoint' if name == 'convert' else name.replace('-', '_')
        with open(os.path.join(TOOLS, f'{file}.py'), encoding='utf-8') as f:
            lines = [line for line in f.read().splitlines() if line and not line.startswith('"""')]
        assert lines == [f'from dtbox.cli.{name.replace("-", "_")} import VERB', 'main = VERB.main',
                         "if __name__ == '__main__':",
                         '    main()']


def test_readme_of_the_tools():
    """The tables have every verb, with an example that the verb's parser takes, and every benchmark."""
    with open(os.path.join(TOOLS, 'README.md'), encoding='utf-8') as f:
        text = f.read()
    rows = re.findall(r'^\| `([a-z-]+)` \|.*\| `(dtbox [^`]*)` \|$', text, re.M)
    assert [name for name, _ in rows] == list(VERBS)
    for name, example in rows:
        words = example.split()
        assert words[:2] == ['dtbox', name] and load_verb(name).parse(words[2:])
    benchmarks = {file for file in os.listdir(os.path.join(TOOLS, 'benchmarks')) if file.endswith('.py')}
    assert set(re.findall(r'(?:benchmarks/|`)(\w+\.py)', text)) == benchmarks


@pytest.mark.slow
def test_a_reader_that_has_gone():
    """`dtbox --help | head -1` ends quietly, with the exit code of a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'wb') as gone:
        done = subprocess.run([sys.executable, '-m', 'dtbox', '--help'], stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, '')


@pytest.mark.parametrize('words', [[], ['--version'], *([verb, '--help'] for verb in VERBS), ['print-config', '--list'],
                                   ['test', 'RUN', '--protocol', 'list']], ids=' '.join)
def test_a_reader_that_has_gone_of_a_verb(words, monkeypatch):
    """Whatever prints: what a verb returns, and what argparse prints itself."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, 'w') as gone:
        monkeypatch.setattr(sys, 'stdout', gone)
        with pytest.raises(SystemExit) as left:
            main(words)
    assert left.value.code == 141


def test_a_run_whose_console_has_gone(monkeypatch, capsys):
    """It continues to its end, without a traceback for each line of its log."""
    monkeypatch.setattr('logging.raiseExceptions', True)
    reader, writer = os.pipe()
    os.close(reader)
    ended = []

    def log(args):
        handler = logging.StreamHandler(sys.stdout)
        handler.emit(logging.makeLogRecord(dict(msg='a line')))
        ended.append(True)
    with open(writer, 'w') as gone:
        monkeypatch.setattr(sys, 'stdout', gone)
        with pytest.raises(SystemExit) as left:
            Verb('run', 'Run', 'Nothing.', 'dtbox run', lambda parser: None, log).main([])
    assert ended and left.value.code == 141 and capsys.readouterr().err == ''
