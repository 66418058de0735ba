"""How a report shows metrics and facts: labels with their set, numbers, and which come first. What they are, their
infos say."""
from __future__ import annotations

import math
import re

from dtbox.evaluation.info import Described, choose_headlines
from dtbox.evaluation.names import ALL, is_stderr
from dtbox.report.experiment import Experiment

MOST = 6
"""Headline metrics that are drawn, at most."""


def make_slug(text: str) -> str:
    """Return text as part of a file's name."""
    return re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-').lower() or 'x'


def make_slugs(experiment: Experiment) -> dict[tuple, str]:
    """Return variant -> its name as part of a file's name, a number after it where several would have the same."""
    slugs = {variant: make_slug(experiment.name(variant)) for variant in experiment.variants}
    taken = list(slugs.values())
    return {variant: f'{slug}-{i}' if taken.count(slug) > 1 else slug
            for i, (variant, slug) in enumerate(slugs.items(), 1)}


def format_label(described: Described, sets: list[str] | tuple[str, ...] = (), percent: str = '%') -> str:
    """Return the label of a metric or fact; the set follows where there are several and it is not `all`, then the unit
    of a fraction.

    Args:
        described: of SET/METRIC, or of a fact.
        sets: names of the held-out sets of the experiment, `all` apart.
        percent: unit of a fraction.
    """
    name = described.name
    text = described.label + (f' ({name.protocol})' if name.protocol else '')
    if name.set and name.set != ALL and not (len(sets) < 2 and name.set in sets):
        text = f'{text} ({name.set})'
    return f'{text} [{percent}]' if described.is_fraction else text


def format_value(described: Described, value: float | None, half: float | None = None, sign: str = '',
                 difference: bool = False) -> str:
    """Return a value as text, `–` where there is none, followed by ± half the width of its interval where that is
    known.

    Args:
        described: metric or fact.
        value, half: numbers or None; fractions in [0, 1] are shown in percent.
        sign: '+' shows the sign.
        difference: whether the value is a difference, so that its size says nothing of the digits that matter.
    """
    if value is None:
        return '–'
    spec, factor = described.info.format, described.factor
    if spec.endswith('%'):
        spec = f'{spec[:-1]}f'
    elif spec.endswith('g'):
        spec = _fixed(half, 2) if difference and half else _fixed(value, 4)
    text = format(factor * value, sign + spec)
    text = text.lstrip('+-') if not any(c in '123456789' for c in text) else text  # no sign before a zero
    return (text if half is None else f'{text} ± {format(factor * half, spec)}').replace('-', '−')


def _fixed(value: float, digits: int) -> str:
    """Return the format with as many digits after the point as show `digits` significant ones of a value: its interval
    gets the same."""
    exponent = math.floor(math.log10(abs(value))) if value else 0
    return f'.{max(0, digits - 1 - exponent)}f' if -5 <= exponent < 7 else f'.{digits - 1}e'


def choose_headline(experiment: Experiment) -> tuple[list[str], list[str]]:
    """Return (metrics that come first, metrics that were asked for and that no finished trial has).

    Where neither the user nor the grid names any, those are chosen whose infos have a place among the headlines, then
    others.
    """
    asked, present = experiment.asked, experiment.metrics
    if asked:
        return [m for m in asked if m in present], [m for m in asked if m not in present]
    chosen = [m for m in dict.fromkeys([*choose_headlines(present, experiment.infos), *present]) if not is_stderr(m)]
    return chosen[:MOST], []
