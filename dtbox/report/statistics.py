"""Means over seeds with intervals, differences that are paired over pictures and seeds, and the Pareto front.

Legend: S seeds, n held-out pictures (or queries).
"""
from dataclasses import dataclass
from typing import Optional

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean.
        half: half the width of its interval, or None for a single value.
        count: number of values.
    """
    value: float
    half: Optional[float]
    count: int


@dataclass(frozen=True)
class Difference:
    """How far a variant is from the reference.

    Attributes:
        value: mean over the seeds and pictures of the differences.
        half: half the width of its interval, or None where there is one seed and one picture.
        seeds, pictures: how many went into it.
        narrow: half the width over pictures alone, as if other seeds gave the same; None for one picture.
    """
    value: float
    half: Optional[float]
    seeds: int
    pictures: int
    narrow: Optional[float] = None

    @property
    def sure(self):
        """Whether the interval leaves out 0."""
        return self.half is not None and abs(self.value) > self.half


def quantile(df):
    """Return the quantile of Student's t with `df` degrees of freedom that a two-sided interval of `LEVEL` needs."""
    from scipy.special import stdtrit
    return float(stdtrit(df, (1 + LEVEL) / 2))


def mean_of(values):
    """Return the `Mean` of numbers, None where there are none.

    The interval is Student's: mean +- t(n - 1) s / sqrt(n), with s the sample standard deviation.
    """
    values = np.asarray(list(values), dtype=np.float64)
    if not len(values):
        return None
    half = quantile(len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
    return Mean(float(values.mean()), None if half is None else float(half), len(values))


def paired(differences):
    """Return the `Difference` of paired scores.

    Seeds and pictures are both samples: of trainings that might have been, and of pictures that might have been held out. With d(s, i)
    the difference on picture i at seed s, and the mean squares of its two-way table

        MS_S = n sum_s (d(s, .) - d)^2 / (S - 1)                          of the seeds,
        MS_P = S sum_i (d(., i) - d)^2 / (n - 1)                          of the pictures,
        MS_R = sum_si (d(s, i) - d(s, .) - d(., i) + d)^2 / ((S - 1)(n - 1))   of what is left,

    (MS_S + MS_P - MS_R) / (S n) is the unbiased estimate of the variance of the mean d: the analysis of readers and cases by Dorfman,
    Berbaum and Metz (1992), seeds being the readers. Its two parts, of the seeds and of the pictures, have their own degrees of freedom, so
    their half widths are found apart and added in squares (Zou and Donner, Statistics in Medicine 27, 2008):

        h^2 = t(S - 1)^2 max(MS_S - MS_R, 0) / (S n) + t(n - 1)^2 MS_P / (S n),

    interval d +- h. In simulations with three or five seeds 95 to 98 % of these intervals hold the truth, with two seeds 92 to 96 %. With
    one seed h = t(n - 1) sd / sqrt(n) over pictures, and says nothing of other seeds.

    Args:
        differences: [S, n], variant minus reference, every pair measured.
    """
    d = np.asarray(differences, dtype=np.float64)
    seeds, pictures = d.shape
    mean = float(d.mean())
    if seeds == 1 or pictures == 1:
        flat = mean_of(d.ravel())
        return Difference(mean, flat.half, seeds, pictures, flat.half if pictures > 1 else None)
    by_seed, by_picture = d.mean(axis=1), d.mean(axis=0)
    rest = d - by_seed[:, None] - by_picture[None, :] + mean
    ms_seeds = pictures * ((by_seed - mean) ** 2).sum() / (seeds - 1)
    ms_pictures = seeds * ((by_picture - mean) ** 2).sum() / (pictures - 1)
    ms_rest = (rest ** 2).sum() / ((seeds - 1) * (pictures - 1))
    of_seeds, of_pictures = quantile(seeds - 1) ** 2 * max(ms_seeds - ms_rest, 0.0), quantile(pictures - 1) ** 2 * ms_pictures
    halves = (float((squared / d.size) ** 0.5) for squared in (of_seeds + of_pictures, of_pictures))
    return Difference(mean, next(halves), seeds, pictures, next(halves))


def pareto(points, lower):
    """Say which points no other point beats: none is at least as good in every direction and better in one.

    Args:
        points: [P, M] numbers.
        lower: for each of the M directions, whether less is better.

    Returns:
        list of P booleans; equal points are on the front together.
    """
    points = np.asarray(points, dtype=np.float64) * np.where(lower, -1.0, 1.0)
    return [not bool(((points >= p).all(axis=1) & (points > p).any(axis=1)).any()) for p in points]
