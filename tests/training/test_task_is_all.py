"""The Runner and what is around it know a Task, and nothing of a tokenizer: read from the code."""
import ast
import re
from pathlib import Path

import pytest

import dtbox
from dtbox.training.task import Task

ROOT = Path(dtbox.__file__).parent
OWN = ('training/tokenizer_', 'training/teacher/', 'training/benchmark.py', 'training/mllm_', 'training/code_cache.py')
"""What belongs to the tasks of tokenizers and language models: paths below dtbox begin with these."""
WORDS = re.compile('tokenizer|teacher|discriminator|vocabular|codebook|quantizer|decoder|encoder|criterion|adversarial')
ASKED = {'quantizers', 'discriminator_terms'}
"""What a Task answers to hooks, nothing by default."""
MODULES = sorted(path.relative_to(ROOT).as_posix() for room in ('training', 'hooks')
                 for path in (ROOT / room).rglob('*.py'))
GENERIC = [module for module in MODULES if not module.startswith(OWN)]


def find_words(code):
    """Yield (line, name or string) of every tokenizer word in identifiers and strings of `code`; docstrings and
    messages may have them."""
    for node in ast.walk(ast.parse(code)):
        names = [getattr(node, field, None) for field in ('attr', 'id', 'arg', 'name')]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ' ' not in node.value.strip():
            names.append(node.value)
        for name in names:
            if isinstance(name, str) and WORDS.search(name.lower()) and name not in ASKED:
                yield node.lineno, name


def find_questions(code):
    """Yield (line, attribute) of everything that `code` asks of `task` or `....task`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, 'attr', getattr(node.value, 'id', ''))
            if owner == 'task':
                yield node.lineno, node.attr


def read(module):
    return (ROOT / module).read_text(encoding='utf-8')


@pytest.mark.parametrize('module', [m for m in GENERIC if m.startswith('training/')])
def test_training_names_no_tokenizer(module):
    """Identifiers and keys; a message may give an example."""
    assert list(find_words(read(module))) == []


@pytest.mark.parametrize('module', GENERIC)
def test_what_is_asked_of_a_task(module):
    """Every attribute of a task that Runner and hooks read is one of `Task` itself."""
    unknown = [(line, name) for line, name in find_questions(read(module)) if not hasattr(Task, name)]
    own = {'batch_weight', 'stop_wanted', 'stop_agreed', 'unread', 'iteration', 'amp', 'shards'}  # of its constructor
    assert [(line, name) for line, name in unknown if name not in own] == []


@pytest.mark.parametrize('code, words', [
    ('runner.task.tokenizer', ['tokenizer']), ('def f(teacher): pass', ['teacher']),
    ("cfg['discriminator']", ['discriminator']),
    ('"""A tokenizer."""', []), ('task.quantizers', []),
    ("raise E('the decoder is small')", []), ('f(encoder=1)', ['encoder'])])
def test_the_search_itself(code, words):
    assert [name for _, name in find_words(code)] == words


def test_the_questions_themselves():
    asked = [name for _, name in find_questions('runner.task.step()\ntask.head\nself.task.parts\nother.head')]
    assert sorted(asked) == ['head', 'parts', 'step']
