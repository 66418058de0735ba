"""Word F1 and CIDEr-D by hand, and against pycocoevalcap."""
import math
import random

import pytest

from dtbox.datasets.twemoji import find_split, load_pairs
from dtbox.errors import InputError
from dtbox.evaluation.functional import cider_d, normalize_text, word_f1


@pytest.mark.parametrize('reply, truth, score', [
    ('red heart', 'a red big heart', 2 * 2 / 6), ('Red  HEART', 'red heart', 1), ('heart', 'hearts', 0),
    ('red red red', 'red heart', 2 * 1 / 5), ('', 'red', 0), ('', '', 1)])
def test_word_f1_by_hand(reply, truth, score):
    assert word_f1(reply, truth) == pytest.approx(score, abs=1e-12) == word_f1(truth, reply)


def test_normalize_text():
    assert normalize_text('  Red\n HEART ') == 'red heart'


def test_cider_by_hand():
    """Images 'a b' and 'a c': `a` is in all, so it weighs nothing; b, c and the bigrams weigh L = log 2.

    'a b' is perfect but lacks n-grams of 3 and 4 words: 5 of 10. 'a c c c' for 'a c': single words 3L clipped to L, so
    1/3; bigrams (a c: L, c c: 2L) against (a c: L), so 1/sqrt(5); two bigrams more, so exp(-4/72).
    """
    found = cider_d(['a b', 'a c c c'], [['a b'], ['a c']])
    assert found == pytest.approx([5, 10 / 4 * (1 / 3 + 5 ** -0.5) * math.exp(-4 / 72)], abs=1e-12)


def test_cider_traps():
    assert cider_d(['a cat sits here'], [['a cat sits here']]) == [0]  # one image: every n-gram is in all
    assert cider_d(['cat', 'dog'], [['cat'], ['dog']]) == pytest.approx([2.5, 2.5])
    assert cider_d([], []) == []
    with pytest.raises(InputError, match='2 captions and 2 lists of references, of which 1 are empty'):
        cider_d(['a', 'b'], [['a'], []])


def test_cider_ceiling_of_emoji_names():
    """Names of fewer than four words keep a perfect caption below 10."""
    for part, ceiling in (('variants', 9.67), ('concepts', 7.14)):
        names = [emoji.captions[0].lower() for emoji in load_pairs() if find_split(emoji) == part]
        assert sum(cider_d(names, [[name] for name in names])) / len(names) == pytest.approx(ceiling, abs=0.005)


def test_cider_equals_pycocoevalcap():
    """1,000 random captions with one to five references, empty and one-word ones among them."""
    scorer = pytest.importorskip('pycocoevalcap.cider.cider_scorer').CiderScorer()
    rng = random.Random(0)

    def caption():
        return ' '.join(f'w{rng.randrange(30)}' for _ in range(rng.choice((0, 1, 1, 2, 3, 4, 5, 8, 12))))

    references = [[caption() for _ in range(rng.choice((1, 1, 2, 5)))] for _ in range(1000)]
    replies = [rng.choice([caption(), rng.choice(some)]) for some in references]
    for reply, some in zip(replies, references):
        scorer += (reply, some)
    assert cider_d(replies, references) == pytest.approx(list(scorer.compute_score()[1]), abs=1e-9)
