"""Numbers agree with their nouns and verbs."""
import ast
import re
from pathlib import Path

import pytest

from dtbox.counts import format_count
from dtbox.datasets.left_out import describe_suffixes

NOUNS = (
    'batches blocks captions cells characters classes clips codes columns conversations cores entries features '
    'files folders frames gradients groups ids images iterations keys labels levels lines masks objects parameters '
    'places processes prompts questions ranks regions replies rows runs samples seeds shards stages steps targets '
    'tensors terms texts threads times tokens trials turns values views words workers')
COUNTED = re.compile(r'^ (' + '|'.join(NOUNS.split()) + r')\b')
BOTH = re.compile(r'\w\((s|es|ies)\)')
"""Texts that leave the choice to the reader: '1 file(s)'."""
NO_COUNTS = ('split', 'sizes', 's', 'batch.images.dtype', 'self.questions', 'self.views',
             "settings['split']",
             '[len(rows) for rows in pooled]', "'with' if tokens.isfinite().all() else 'without finite'",
             "', '.join(map(str, parts))", "os.environ.get('WORLD_SIZE')", "' x '.join((f'{size:,}' for size in "
             "stream.sizes))", "', '.join((f'{size:,}' for size in LEVELS))", 'w')
"""What stands before such a noun and is not a number, is a text that data sets are told apart by, or an example."""


def _is_count(value):
    """Whether a value of an f-string may be the number 1: not a constant, not printed as a float."""
    name = ast.unparse(value.value)
    how = value.format_spec.values[0].value if value.format_spec is not None else ''
    return how in ('', ',') and name not in NO_COUNTS and not re.match(r'[A-Z]+\b|patches.LEAST|MOST_', name)


def find_counts(text):
    """Return (line, what) for each number that a text of Python puts before a plural noun by itself."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, node.values[1:]):
                plain = isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)
                if plain and (noun := COUNTED.match(after.value)) and _is_count(value):
                    found.append((node.lineno, f'{{{ast.unparse(value.value)}}} {noun[1]}'))
            texts = [one.value for one in node.values if isinstance(one, ast.Constant)]
            found += [(node.lineno, one) for one in texts if BOTH.search(one)]
    return found


def test_sentences_count_by_the_helper():
    """`{n} images` would say "1 images": `format_count(n, 'image')`."""
    root = Path(__file__).parent.parent / 'dtbox'
    wrong = [f'{path.relative_to(root.parent)}:{line} {what}' for path in sorted(root.rglob('*.py'))
             for line, what in find_counts(path.read_text(encoding='utf-8'))]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('code, count', [
    ("f'{n} images'", 1), ("f'{len(a):,} texts are'", 1), ("f'a {n} ' f'files'", 1), ("f'{n} file(s)'", 1),
    ("f'{x:.1f} images'", 0), ("f'{format_count(n, \"image\")} are'", 0), ("'{n} images'", 0), ("f'{n} imagery'", 0)])
def test_what_the_scan_finds(code, count):
    assert len(find_counts(code)) == count


@pytest.mark.parametrize('number, words, text', [
    (1, ('folder',), '1 folder'), (0, ('folder',), '0 folders'), (1200, ('image', 'is'), '1,200 images are'),
    (1, ('image', 'is'), '1 image is'), (2, ('entry', 'matches'), '2 entries match'), (3, ('image', 'lies'),
                                                                                       '3 images lie'),
    (2, ('image', 'has'), '2 images have'), (2, ('trial', 'was'), '2 trials were'), (2, ('batch',), '2 batches'),
    (0, ('process',), '0 processes'), (2, ('key', 'comes'), '2 keys come')])
def test_nouns_and_verbs(number, words, text):
    assert format_count(number, *words) == text


def test_files_that_are_left_out():
    assert [s.partition(':')[0] for s in describe_suffixes({'.a': 1, '.b': 2, 'link': 1, 'no suffix': 2})] == [
        '1 file that ends in .a is left out', '2 files that end in .b are left out',
        '1 file that is a link is left out', '2 files that have no suffix are left out']
