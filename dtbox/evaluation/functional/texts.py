"""Scores of a reply beside right answers: exact match, word F1, CIDEr-D.

CIDEr-D: Vedantam, Zitnick, Parikh, "CIDEr: Consensus-based image description evaluation", CVPR 2015, in the form of the
COCO caption server. The scores are those of pycocoevalcap on the same words; its PTB tokenizer is not part of it.
"""
from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from dtbox.arguments import iterate, read_arguments, read_count, read_kind, read_number, read_strings
from dtbox.counts import format_count
from dtbox.errors import InputError

LONGEST = 4
"""Words of the longest n-gram of CIDEr-D."""
SIGMA = 6.0
"""Standard deviation of the penalty for another length than the reference's."""
_read_text = read_kind(str, what='a text')
_MARKS = re.compile(r"``|''|--|\.\.\.|[.?!,:;\"()\[\]{}]|(?<!\w)['`-]+|['`-]+(?!\w)")
"""Punctuation that the COCO caption server removes."""


def _read_references(value: Any) -> list[list[str]]:
    return [read_strings(item) for item in iterate(value, 'a list of lists of strings')]


@read_arguments(text=_read_text)
def normalize_text(text: str) -> str:
    """Return a text in lower case, its words divided by one space."""
    return ' '.join(text.lower().split())


@read_arguments(reply=_read_text, truth=_read_text)
def word_f1(reply: str, truth: str) -> float:
    """Harmonic mean of precision and recall of the words, each counted as often as it occurs; case does not count.

    Words are what spaces divide; articles and punctuation count. Two empty texts score 1.
    """
    words = [Counter(normalize_text(text).split()) for text in (reply, truth)]
    total = sum(words[0].values()) + sum(words[1].values())
    return 2 * sum((words[0] & words[1]).values()) / total if total else 1.0


@read_arguments(replies=read_strings, references=_read_references, longest=read_count(1, 64),
                sigma=read_number(1e-3, 1e6))
def cider_d(replies: Sequence[str], references: Sequence[Sequence[str]], longest: int = LONGEST,
            sigma: float = SIGMA) -> list[float]:
    """CIDEr-D of each caption, from 0 to 10; the score of a corpus is their mean.

    Three properties that surprise: with one image every score is 0, since every n-gram is in all references; a perfect
    caption of fewer than four words scores less than 10, since it lacks the longer n-grams (one word: 2.5); the penalty
    for length counts the n-grams of two words.

    Args:
        replies: captions of the images of the whole corpus; words are what spaces divide, and case counts.
        references: one or more captions of each image; their n-grams give the document frequencies.
        longest: words of the longest n-gram.
        sigma: of the penalty for length.

    Raises:
        InputError: not one list of references, with at least one in it, for each caption.
    """
    if len(replies) != len(references) or not all(references):
        raise InputError(f'there are {format_count(len(replies), "caption")} and '
                         f'{format_count(len(references), "list")} of references, of which '
                         f'{sum(not some for some in references)} are empty; expected at least one reference of each.')
    corpus = _Corpus(references, longest, sigma)
    return [corpus.score(reply, i) for i, reply in enumerate(replies)]


@read_arguments(references=_read_references)
def cider_ceilings(references: Sequence[Sequence[str]]) -> tuple[list[float], list[float]]:
    """Return what right captions score in CIDEr-D, from 0 to 10: (itself, leave one out).

    Document frequencies are those of all references in both, as where a model is scored. `itself` has a number for each
    image: the mean over its references of the score of that reference beside all references of the image, itself among
    them. `leave one out` has one for each image with two references or more: the mean over its references of the score
    of that reference beside the others of the image, which is what another person's caption scores.

    Args:
        references: one or more captions of each image.

    Raises:
        InputError: an image without a reference.
    """
    if not all(references):
        raise InputError(f'{sum(not some for some in references)} of {format_count(len(references), "image")} have '
                         f'no reference; '
                         'expected at least one of each.', 'references')
    corpus, itself = _Corpus(references, LONGEST, SIGMA), []
    others = []
    for i, some in enumerate(references):
        itself.append(sum(corpus.score(text, i) for text in some) / len(some))
        if len(some) > 1:
            others.append(sum(corpus.score(text, i, leave_out=n) for n, text in enumerate(some)) / len(some))
    return itself, others


@read_arguments(text=_read_text)
def tokenize_caption(text: str) -> str:
    """Return a caption as words divided by spaces, for CIDEr-D: lower case, punctuation removed.

    It stands for the PTB tokenizer of the COCO caption server, which needs Java, and equals it on captions of plain
    words. It differs where PTB divides words (don't: do n't; here one word, as are words with a hyphen in both).
    """
    return ' '.join(_MARKS.sub(' ', text.lower()).split())


class _Corpus:
    """References of all images, their n-grams weighed.

    Args:
        references: one or more captions of each image.
        longest, sigma: see `cider_d`.
    """

    def __init__(self, references: Sequence[Sequence[str]], longest: int, sigma: float) -> None:
        self.longest, self.sigma = longest, sigma
        counted = [[_count_ngrams(text, longest) for text in some] for some in references]
        frequency = Counter(ngram for some in counted for ngram in {ngram for counts in some for ngram in counts})
        self.unseen = math.log(len(counted)) if counted else 0.0
        self.weights = {ngram: self.unseen - math.log(count) for ngram, count in frequency.items()}
        self.truths = [[self._weigh(counts) for counts in some] for some in counted]

    def score(self, reply: str, image: int, leave_out: int | None = None) -> float:
        """Return the CIDEr-D of a reply about an image; reference number `leave_out` does not count."""
        vector = self._weigh(_count_ngrams(reply, self.longest))
        some = [truth for n, truth in enumerate(self.truths[image]) if n != leave_out]
        return 10 * sum(_compare(vector, truth, self.sigma) for truth in some) / len(some)

    def _weigh(self, counts: Counter[tuple[str, ...]]) -> _Vector:
        return _weigh(counts, self.weights, self.unseen, self.longest)


class _Vector(NamedTuple):
    """tf-idf weights of a caption, by the number of words of the n-gram, their norms, and the number of bigrams."""
    weights: list[dict[tuple[str, ...], float]]
    norms: list[float]
    bigrams: int


def _count_ngrams(text: str, longest: int) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i:i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1))


def _weigh(counts: Counter[tuple[str, ...]], weights: dict[tuple[str, ...], float], unseen: float,
           longest: int) -> _Vector:
    vector: list[dict[tuple[str, ...], float]] = [{} for _ in range(longest)]
    for ngram, count in counts.items():
        vector[len(ngram) - 1][ngram] = count * weights.get(ngram, unseen)
    return _Vector(vector, [math.sqrt(sum(w * w for w in part.values())) for part in vector],
                   sum(count for ngram, count in counts.items() if len(ngram) == 2))


def _compare(reply: _Vector, truth: _Vector, sigma: float) -> float:
    """Mean over n of the clipped cosine, times the penalty for length."""
    total = 0.0
    for ours, theirs, *norms in zip(reply.weights, truth.weights, reply.norms, truth.norms):
        product = sum(min(weight, theirs[ngram]) * theirs[ngram] for ngram, weight in ours.items() if ngram in theirs)
        total += product / (norms[0] * norms[1]) if norms[0] and norms[1] else product
    return total / len(reply.weights) * math.exp(-(reply.bigrams - truth.bigrams) ** 2 / (2 * sigma ** 2))
