"""Numbers agree with their nouns and verbs."""
import pytest

from dtbox.counts import format_count
from dtbox.datasets.left_out import describe_suffixes


@pytest.mark.parametrize('number, words, text', [
    (1, ('folder',), '1 folder'), (0, ('folder',), '0 folders'), (1200, ('image', 'is'), '1,200 images are'),
    (1, ('image', 'is'), '1 image is'), (2, ('entry', 'matches'), '2 entries match'), (3, ('image', 'lies'),
                                                                                       '3 images lie'),
    (2, ('image', 'has'), '2 images have'), (2, ('trial', 'was'), '2 trials were')])
def test_nouns_and_verbs(number, words, text):
    assert format_count(number, *words) == text


def test_files_that_are_left_out():
    assert [s.partition(':')[0] for s in describe_suffixes({'.a': 1, '.b': 2, 'link': 1, 'no suffix': 2})] == [
        '1 file that ends in .a is left out', '2 files that end in .b are left out',
        '1 file that is a link is left out', '2 files that have no suffix are left out']
