"""READMEs: every command parses, every config and option that it names exists, code blocks run, links lead
somewhere."""
from __future__ import annotations

import io
import os
import re
import shutil
import textwrap
from contextlib import redirect_stderr

import pytest
from PIL import Image

from dtbox.cli.verbs import VERBS, load_verb
from dtbox.config import load_config
from dtbox.config.options import parse_options
from dtbox.errors import InputError
from tests.readme_blocks import PLACEHOLDER, ROOT, list_readmes, read_anchors, read_blocks, read_commands, read_links

READMES = list_readmes()
COMMANDS = [(f'{block.file}:{block.line}', words) for file in READMES for block in read_blocks(file)
            if block.language == 'bash' for words in read_commands(block)]
PYTHON = [block for file in READMES for block in read_blocks(file) if block.language == 'python']
PROGRAMS = ('pip', 'pytest', 'git', 'cd', 'ls', 'srun', 'sbatch', 'eval', 'ruff', 'mypy', 'export', 'curl', 'mkdir',
            'unzip', 'fidelity', 'run', 'activate-global-python-argcomplete', 'register-python-argcomplete')
"""Programs of others, whose arguments are not checked."""
TOOLS = {'convert_checkpoint': ['convert'], 'gpu_check': ['diagnose', 'gpu']}
"""Script of tools/ -> verb of another name, and its first words."""


def find_verb(words: list[str]) -> tuple[str, list[str]] | None:
    """Return (verb, its arguments) of a command line, None where it is not one of dtbox."""
    if words[0] == 'dtbox':
        return words[1], words[2:]
    if words[0] == 'torchrun':
        start = next((i for i, word in enumerate(words) if word == 'dtbox' or word.startswith('tools/')), None)
        assert start is not None, 'torchrun starts nothing of dtbox'
        return find_verb(words[start:] if words[start] == 'dtbox' else ['python', *words[start:]])
    if words[0] == 'python' and words[1:3] == ['-m', 'dtbox']:
        return words[3], words[4:]
    if words[0] == 'python' and words[1].startswith('tools/') and not words[1].startswith('tools/benchmarks/'):
        script = os.path.basename(words[1]).removesuffix('.py')
        verb, *first = TOOLS.get(script, [script.replace('_', '-')])
        return verb, [*first, *words[2:]]
    return None


@pytest.mark.parametrize('where, words', COMMANDS, ids=[f'{where} {" ".join(words)[:40]}' for where, words in COMMANDS])
def test_commands(where, words):
    """The verb exists, its parser takes the arguments, and the config has the keys that are set."""
    words = words[next(i for i, word in enumerate(words) if not re.match(r'[A-Z_]+=', word)):]  # NAME=VALUE before it
    found = find_verb(words)
    if found is None:
        if words[0] == 'python' and words[1] != '-c':
            module = words[2].replace('.', '/') + '.py' if words[1] == '-m' else words[1]
            assert words[1] == '-m' and not words[2].startswith('tests') or (ROOT / module).is_file(), where
        else:
            assert words[0] == 'python' or words[0].rpartition('/')[2] in PROGRAMS, f'{where}: what is `{words[0]}`?'
        return
    name, arguments = found
    if name in ('--help', '--version', 'VERB'):
        return
    assert name in VERBS, where
    errors = io.StringIO()
    with redirect_stderr(errors):
        try:
            args = load_verb(name).parse([word.strip('[]') for word in arguments])
        except (SystemExit, InputError) as e:
            assert '--help' in arguments, f'{where}: {e} {errors.getvalue()}'
            return
    check_config(name, args, where)


def check_config(verb, args, where):
    """Load the config that a command names, with its options; placeholders and run folders are left alone."""
    config = getattr(args, 'config', None)
    reads = verb in ('train', 'describe', 'scale', 'print-config', 'check-data', 'teacher-check')
    made = config and config.startswith('plugins/') and not (ROOT / config).exists()  # `dtbox plugins new` writes it
    if not reads or not config or made or PLACEHOLDER.search(config) or config.startswith('work_dirs'):
        return
    data = getattr(args, 'data', None)
    data = None if data and PLACEHOLDER.search(data) else data
    try:
        load_config(config, parse_options(getattr(args, 'cfg_options', [])), data=data,
                    tiny=getattr(args, 'tiny', False))
    except InputError as e:
        raise AssertionError(f'{where}: {e}') from e


@pytest.fixture(scope='module')
def run_with_texts(golden, tmp_path_factory):
    """A run folder of the tiny golden DualToken, with a text tokenizer of a few words."""
    from dtbox.converters.run_folder import convert
    from dtbox.texts.tokenizers import train_word_tokenizer
    from tests.conftest import write_published
    folder = tmp_path_factory.mktemp('readme')
    source, siglip = write_published(folder, golden)
    train_word_tokenizer(['a cat', 'a dog']).save(str(siglip / 'tokenizer.json'))
    (siglip / 'tokenizer_config.json').write_text('{"pad_token": "<pad>"}')
    convert('dualtoken', source, folder / 'run', siglip=siglip)
    return folder / 'run'


@pytest.mark.parametrize('block', PYTHON, ids=[f'{block.file}:{block.line}' for block in PYTHON])
def test_python_blocks(block, run_with_texts, tmp_path, monkeypatch):
    """Blocks that use a run are run on a small one; the others, parts to be written, compile."""
    excerpt = block.text.startswith(' ' * 8)  # of a method and what follows it
    text = f'class Excerpt:\n    def method(self):\n{block.text}' if excerpt else textwrap.dedent(block.text)
    code = compile(text, f'{block.file}:{block.line}', 'exec')
    if 'dtbox.load' not in block.text and 'from_pretrained' not in block.text:
        return
    shutil.copytree(run_with_texts, tmp_path / 'work_dirs' / 'dualtoken_rq')
    for number, name in enumerate(('cat.jpg', 'dog.png')):
        Image.new('RGB', (80, 60), (40 + 90 * number, 120, 30)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    exec(code, {'__name__': 'readme'})


@pytest.mark.parametrize('file', READMES)
def test_links(file):
    """Files, folders and headings that a README links to exist."""
    folder = (ROOT / file).parent
    for target in read_links(file):
        path, _, anchor = target.partition('#')
        place = (folder / path).resolve() if path else ROOT / file
        assert place.exists(), f'{file} links to {target}'
        if anchor and place.suffix == '.md':
            assert anchor in read_anchors(place.relative_to(ROOT).as_posix()), f'{file} links to {target}'


def test_main_readme_is_short():
    """A newcomer reads it in one go."""
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 150


RESULTS = sorted(path for folder in ('ablations/results', 'protocols/results', 'results')
                 for path in (ROOT / 'configs' / folder).rglob('*.md')
                 if path.name in ('README.md', 'benchmark.md', 'scale.md', 'check.md'))


@pytest.mark.parametrize('path', RESULTS, ids=lambda p: p.relative_to(ROOT / 'configs').as_posix())
def test_results_name_the_code_that_made_them(path):
    """Each links to the table of what has changed since, where its commit stands, too."""
    text = path.read_text(encoding='utf-8')
    assert re.search(r'\[what has changed since\]\((\.\./)+README\.md#results\)', text)
    if path.parent != ROOT / 'configs' / 'ablations' / 'results':
        commit = re.search(r'Code of commit ([0-9a-f]{7});', text)
        assert commit and commit[1] in (ROOT / 'configs' / 'README.md').read_text(encoding='utf-8')
