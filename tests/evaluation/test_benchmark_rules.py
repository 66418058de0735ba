"""The rules of benchmarks by hand: VQAv2, GQA, POPE, MME, letters, ceilings of CIDEr-D."""
import json
import random
from pathlib import Path

import pytest

from dtbox.errors import InputError
from dtbox.evaluation.functional import (
    cider_ceilings,
    cider_d,
    circular_hits,
    find_letter,
    gqa_match,
    mme_scores,
    normalize_vqa,
    pope_scores,
    read_yes_no,
    tokenize_caption,
    vqa_accuracy,
)


@pytest.mark.parametrize('text, normal', [
    ('The  Two\ndogs', '2 dogs'),
    ('none', '0'), ('An apple', 'apple'), ('dont', "don't"), ("couldntve couldn'tve", "couldntve couldn't've"),
    ("somebody'd", 'somebodyd'), ("yall'd've", "y'all'd've"), ('Im', 'im'),  # "Im" is in the list, in upper case alone
    ('red, white', 'red white'),  # a comma beside a space disappears
    ('red,white', 'red white'),  # otherwise it becomes one
    ('1,000-ish!', '1000ish'),  # a comma between digits: all marks disappear
    ('x-ray', 'x ray'), ('x - ray', 'x ray'), ('x-ray -', 'xray'),
    ('3.5', '3.5'), ('5.', '5'), ('U.S.', 'us'),
    ('.' * 40, '.' * 8),  # the official code removes the first 32 periods
    ('cat\'s', "cat's"), ('', '')])
def test_normalisation_of_vqa(text, normal):
    assert normalize_vqa(text) == normal


@pytest.mark.parametrize('equal, accuracy', [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_vqa_accuracy_by_number_of_equal_answers(equal, accuracy):
    """Leaving each of ten answers out: 3 equal ones give 7 times 1 and 3 times 2/3."""
    answers = ['red'] * equal + ['blue'] * (10 - equal)
    for rule in ('official', 'always', 'lmms_eval'):
        assert vqa_accuracy('Red.', answers, rule) == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.parametrize('reply, answers, official, always, lmms', [
    # equal answers stay as they are by the rules that normalise differing ones alone
    ('two', ['two'] * 10, 0, 1, 0), ('The dog', ['the dog'] * 10, 0, 1, 0), ('yes', ['yes'] * 10, 1, 1, 1),
    # of differing ones the official code changes the punctuation alone, lmms-eval number words and articles, too
    ('two', ['two'] * 9 + ['3'], 0, 1, 1), ('dark-red', ['dark-red'] * 9 + ['red'], 1, 1, 1),
    ('Yes', ['Yes'] * 9 + ['no'], 0, 1, 1),
    # lmms-eval takes commas out of the reply, but not out of answers
    ('red,white', ['red,white'] * 9 + ['red'], 1, 1, 0), ("cat's", ["cat's"] * 9 + ['cat'], 1, 1, 0)])
def test_rules_of_vqa_differ(reply, answers, official, always, lmms):
    found = [vqa_accuracy(reply, answers, rule) for rule in ('official', 'always', 'lmms_eval')]
    assert found == pytest.approx([official, always, lmms])


def test_vqa_accuracy_as_published():
    """Odd replies and answers: the accuracies of the official code and of lmms-eval."""
    rows = json.loads((Path(__file__).parents[1] / 'data' / 'vqa_accuracy.json').read_text())
    assert len(rows) == 80
    for reply, counts, official, lmms in rows:
        answers = [text for text, count in counts.items() for _ in range(count)]
        found = [vqa_accuracy(reply, answers, rule) for rule in ('official', 'lmms_eval')]
        assert found == pytest.approx([official, lmms], abs=1e-9), (reply, counts)


@pytest.mark.parametrize('reply, answer, lmms, llava', [
    ('Yes.', 'yes', True, True), ('Yes!', 'yes', True, False), ('t-shirt', 't shirt', False, False),
    ('t shirt', 't-shirt', False, False), ('t-shirt', 't-shirt', True, True), ('tshirt', 't-shirt', True, False),
    (' yes', 'yes', False, False), ('Woman..', 'woman', True, True)])
def test_gqa_match(reply, answer, lmms, llava):
    assert gqa_match(reply, answer) is lmms and gqa_match(reply, answer, 'llava') is llava


@pytest.mark.parametrize('reply, llava, lmms, mme', [
    ('Yes', 'yes', 'yes', 'yes'), ('No, there is none', 'no', '', 'no'), ('no.', 'no', '', 'no'),
    ('There is no dog. Yes', 'no', '', ''), ('Nothing', 'yes', '', 'no'), ('A dog', 'yes', '', ''),
    ('It is\nnot', 'yes', '', ''),  # words are divided at spaces alone
    ('It is not', 'no', '', ''), (' NO ', 'yes', 'no', 'no'), ('', 'yes', '', ''), ('I say yes', 'yes', '', ''),
    ('not yes', 'no', '', 'no'), ('Eyes', 'yes', '', 'yes')])
def test_yes_and_no(reply, llava, lmms, mme):
    assert [read_yes_no(reply, rule) for rule in ('llava', 'lmms_eval', 'mme')] == [llava, lmms, mme]


def test_pope_by_hand():
    """LLaVA: yes yes no yes no no -> 2 true positives, 1 false, 1 missed. lmms-eval: the long replies count nowhere."""
    replies = ['Yes', 'Yes, there is', 'no', 'A dog.', 'No', 'There is not.']
    truths = ['yes', 'yes', 'yes', 'no', 'no', 'no']
    assert pope_scores(replies, truths, 'llava') == pytest.approx(
        dict(accuracy=4 / 6, precision=2 / 3, recall=2 / 3, f1=2 / 3, yes_ratio=3 / 6))
    assert pope_scores(replies, truths, 'lmms_eval') == pytest.approx(
        dict(accuracy=2 / 6, precision=1, recall=1 / 2, f1=2 / 3, yes_ratio=3 / 6))
    skewed = pope_scores(['yes', 'yes', 'yes', 'no'], ['no', 'no', 'no', 'yes'], 'lmms_eval')
    assert skewed == dict(accuracy=0, precision=0, recall=0, f1=0, yes_ratio=0.25)  # of the right answers
    assert pope_scores(['yes', 'yes', 'yes', 'no'], ['no', 'no', 'no', 'yes'], 'llava')['yes_ratio'] == 0.75
    with pytest.raises(InputError, match='1 reply came to 2 questions'):
        pope_scores(['yes'], ['yes', 'no'], 'llava')
    with pytest.raises(InputError, match="'Yes'; expected yes or no"):
        pope_scores(['yes'], ['Yes'], 'llava')


def test_mme_by_hand():
    """Images with 2, 1 and 0 right answers: accuracy 3/6, accuracy+ 1/3."""
    found = mme_scores(dict(count=[(True, True), (True, False), (False, False)], OCR=[(True, True)]))
    assert found['count'] == pytest.approx(dict(accuracy=0.5, accuracy_plus=1 / 3, score=50 + 100 / 3))
    assert found['OCR'] == dict(accuracy=1, accuracy_plus=1, score=200)
    with pytest.raises(InputError, match='count has an image with 1 question'):
        mme_scores(dict(count=[(True,)]))


OPTIONS = dict(A='a cat', B='a dog', C='two cats')


@pytest.mark.parametrize('reply, letter', [
    ('B', 'B'), ('(B)', 'B'), ('B.', 'B'), ('The answer is B', 'B'), ('**B**', 'B'), ('b', ''),
    ('A or B', ''), ('B and B', 'B'), ('BC', ''),
    ('B is the one I choose', ''),  # not among the last four words
    ('one two B three four five', 'B'), ('one two B three four five six', ''),
    ('B is a dog, I think so', 'B'),  # the letter is too early, and the text of one option is in the reply
    ('A dog', 'A'),  # the article is a letter
    ('it is a Dog', 'B'), ('a cat and a dog', ''), ('it shows two cats', 'C'),
    ('it is surely one thing here, namely a dog', ''),  # longer than twice all options
    ('Z', 'Z'), ('none of them: Z', 'Z'), ('Z or B', 'B'), ('Cannot determine the answer B', 'Z'),
    ('Failed to obtain answer via API B', ''), ('', '')])
def test_letters_of_vlmevalkit(reply, letter):
    assert find_letter(reply, OPTIONS, 'vlmevalkit') == letter


@pytest.mark.parametrize('reply, letter', [('B', 'B'), (' B. a dog', 'B'), ('(B)', '('), ('b', 'b'), ('', '')])
def test_first_characters(reply, letter):
    assert find_letter(reply, OPTIONS, 'first_character') == letter


def test_circular_evaluation():
    """A group is right where all its rotations are."""
    right = [('1', True), ('2', True), ('1', False), ('2', True), ('3', False)]
    assert circular_hits(right) == {'1': False, '2': True, '3': False}


def test_options_are_letters():
    with pytest.raises(InputError, match='letters from A to Z'):
        find_letter('x', dict(first='x'), 'vlmevalkit')
    with pytest.raises(InputError, match='Did you mean `llava`. Expected one of llava, lmms_eval, mme'):
        read_yes_no('yes', 'lava')


def test_ceilings_of_cider_by_hand():
    """One reference each: the caption by itself. Two: beside itself and the other, and beside the other alone."""
    names = [['a b c d'], ['e f g h']]
    itself, others = cider_ceilings(names)
    assert itself == pytest.approx([10, 10]) and others == []
    assert cider_ceilings([['cat'], ['dog']])[0] == pytest.approx([2.5, 2.5])
    # a and b are words of the first image alone: both captions of it share the word a, weighed alike
    itself, others = cider_ceilings([['a b', 'a c'], ['d', 'd']])
    cross = 10 / 4 * (1 / 2)  # single words: a of (a, b) and (a, c), cosine 1/2; bigrams differ
    assert itself == pytest.approx([(5 + cross) / 2, 2.5]) and others == pytest.approx([cross, 2.5])


def test_ceilings_are_scores_of_captions():
    """`itself` is the mean over references of `cider_d` of each as the reply; no caption of people scores more than
    10."""
    rng = random.Random(1)
    references = [[' '.join(f'w{rng.randrange(9)}' for _ in range(rng.choice((1, 3, 6)))) for _ in range(3)]
                  for _ in range(20)]
    itself, others = cider_ceilings(references)
    scores = [cider_d([some[n] for some in references], references) for n in range(3)]
    assert itself == pytest.approx([sum(some) / 3 for some in zip(*scores)])
    assert all(other < own <= 10 for other, own in zip(others, itself))
    with pytest.raises(InputError, match='1 of 2 images have no reference'):
        cider_ceilings([['a'], []])


@pytest.mark.parametrize('text, words', [
    ('A man, on a "bike".', 'a man on a bike'), ("a cat's bed", "a cat's bed"), ('black-and-white (old)',
                                                                                'black-and-white old'),
    ("'quoted' -- words...", 'quoted words'), ('', '')])
def test_words_of_captions(text, words):
    assert tokenize_caption(text) == words
