"""Mutual information of codes with what is known of their images, in bits, with a shuffled baseline for what chance
alone would give.

The estimate from counts is too large by about (rows - 1)(columns - 1) / (2 M ln 2) bits for M independent samples
(Miller 1955), and tokens of one image are not independent. So the same estimate is made on shuffled pairs, and taken
off (shuffle correction, Panzeri et al., J. Neurophysiol. 98:1064, 2007): every image's codes are paired with the
values of another image, its grid rolled by a random shift. Neither image nor position connects the two then, while
runs of like tokens within an image, and so the bias, remain.

Legend: M images, N tokens, P pairs.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtbox.errors import InputError

SHUFFLES = 5


@dataclass(frozen=True)
class Information:
    """What codes tell of a variable.

    Attributes:
        raw: the estimate from counts, bits.
        baseline, deviation: mean and standard deviation of the same over the shuffles.
        entropy: of the variable, bits: the most that there is to tell.
        by_code: code -> its share of `raw` in bits, p(c) sum_y p(y|c) log2(p(y|c) / p(y)); the shares add up.
    """
    raw: float
    baseline: float
    deviation: float
    entropy: float
    by_code: Any

    @property
    def bits(self) -> float:
        """The estimate less the baseline."""
        return self.raw - self.baseline

    def row(self) -> dict[str, float]:
        """Return the numbers as a dict."""
        return dict(bits=self.bits, raw=self.raw, shuffled=self.baseline, shuffled_deviation=self.deviation,
                    entropy=self.entropy)


def count_pairs(x: np.ndarray, y: np.ndarray,
                weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count pairs.

    Args:
        x, y: [P] int64, 0 or more.
        weights: [P], or None for 1 each.

    Returns:
        (x of each cell, y of each cell, its probability), for the cells that are not empty.
    """
    if not len(x):
        raise InputError('there are no pairs to count: no image has what is asked for.')
    width = int(y.max()) + 1
    cells, inverse = np.unique(x.astype(np.int64) * width + y, return_inverse=True)
    p = np.bincount(inverse, weights, len(cells)).astype(np.float64)
    return cells // width, cells % width, p / p.sum()


def compute_summands(x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the summands p log2(p / (p_x p_y)) of the mutual information (Cover and Thomas, equation 2.28), cell by
    cell, in bits."""
    px, py = np.bincount(x, p), np.bincount(y, p)
    return p * np.log2(p / (px[x] * py[y]))


def compute_entropy(p: np.ndarray) -> float:
    """Return the entropy of probabilities in bits; zeros add nothing."""
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def renumber_codes(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (codes numbered from 0 without gaps, in their shape; the codes that these numbers stand for)."""
    seen, numbers = np.unique(codes, return_inverse=True)
    return numbers.reshape(codes.shape), seen


def _information(codes, pairs, seed, shuffles):
    """`pairs(numbers, order, generator)` gives (x, y, weights) with the values of image order[i] beside the codes of
    image i."""
    numbers, seen = renumber_codes(codes)
    x, y, p = count_pairs(*pairs(numbers, np.arange(len(codes)), None))
    summands = compute_summands(x, y, p)
    generator = np.random.default_rng(seed)
    chance = [compute_summands(*count_pairs(*pairs(numbers, generator.permutation(len(codes)), generator))).sum()
              for _ in range(shuffles)]
    shares = np.bincount(x, summands, len(seen))
    return Information(float(summands.sum()), float(np.mean(chance)), float(np.std(chance)),
                       compute_entropy(np.bincount(y, p)), dict(zip(seen.tolist(), shares.tolist())))


def measure_tokens(codes: np.ndarray, values: np.ndarray, grid: tuple[int, int], seed: int = 0,
                   shuffles: int = SHUFFLES) -> Information:
    """Information between the code of a token and a value of its patch.

    Args:
        codes: [M,N] int64.
        values: [M,N] int64, 0 or more.
        grid: (rows, columns), N of them.
        seed: of the shuffles.
        shuffles: how many.
    """
    def pairs(numbers, order, generator):
        other = values[order].reshape(len(values), *grid)
        if generator is not None:
            shifts = generator.integers(0, grid, (len(values), 2))
            rows = (np.arange(grid[0])[None] + shifts[:, :1]) % grid[0]
            columns = (np.arange(grid[1])[None] + shifts[:, 1:]) % grid[1]
            other = other[np.arange(len(values))[:, None, None], rows[:, :, None], columns[:, None, :]]
        return numbers.ravel(), other.ravel(), None
    return _information(codes, pairs, seed, shuffles)


def measure_words(codes: np.ndarray, words: Sequence[Sequence[int]], seed: int = 0,
                  shuffles: int = SHUFFLES) -> Information:
    """Information between the code of a token and a word drawn from the caption of its image, all of its known words
    alike.

    Args:
        codes: [M,N] int64.
        words: M lists of word numbers without repetition; images without any are left out.
        seed, shuffles: as in `measure_tokens`.
    """
    kept = [i for i, own in enumerate(words) if len(own)]
    codes, words = codes[kept], [np.asarray(words[i], dtype=np.int64) for i in kept]

    def pairs(numbers, order, generator):
        images = np.repeat(np.arange(len(numbers)), numbers.shape[1])
        image, code, share = count_pairs(images, numbers.ravel())  # every code of an image once
        lengths = np.array([len(words[order[i]]) for i in image])
        y = np.concatenate([words[order[i]] for i in image])
        return np.repeat(code, lengths), y, np.repeat(share / lengths, lengths)
    if not kept:
        raise InputError('no image has a caption with a word that is frequent enough to be counted.')
    return _information(codes, pairs, seed, shuffles)


def find_telling_words(codes: np.ndarray, words: Sequence[Sequence[int]], code: int,
                       most: int = 3) -> list[tuple[int, float]]:
    """Return the words that a code tells most about: [(word number, p(w|c) / p(w))], by p(w|c) log2(p(w|c) / p(w)), at
    most `most`."""
    counts = (codes == code).sum(1)
    size = 1 + max((int(max(own)) for own in words if len(own)), default=0)
    here, all_over = np.zeros(size), np.zeros(size)
    for own, count in zip(words, counts):
        if len(own):
            here[own] += count / len(own)
            all_over[own] += codes.shape[1] / len(own)
    if not here.sum():
        return []
    here, all_over = here / here.sum(), all_over / all_over.sum()
    lift = np.divide(here, all_over, out=np.ones(size), where=here > 0)
    gain = here * np.log2(lift)
    order = sorted(np.flatnonzero(gain > 0), key=lambda w: (-gain[w], w))[:most]
    return [(int(w), float(lift[w])) for w in order]
