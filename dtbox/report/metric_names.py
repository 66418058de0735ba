"""What the report knows about metrics: names for people, which way is better, and which come first.

A metric is named SET/METRIC, as in results.csv: `all/psnr`, `variants/t2i_r1/tokens`.
"""
import math
import re

from dtbox.evaluation import table
from dtbox.evaluation.stamps import split_name
from dtbox.evaluation.table import format_of, label_of

MOST = 6
"""Headline metrics that are drawn, at most."""

FACTS = {
    'iterations': ('iterations', ',.0f'),
    'seconds': ('time [s]', ',.0f'),
    'peak_mb': ('peak memory [MB]', ',.0f'),
    'parameters': ('parameters', ',.0f'),
    'tokens': ('codes per image', ',.0f'),
    'bits': ('bits per image', ',.0f'),
    'bits_per_pixel': ('bits per pixel', '.3f'),
    'threads': ('threads', '.0f'),
}
"""Facts of a trial: name for people and format. Those before `tokens` differ from seed to seed or may."""

_CODES = ('usage', 'perplexity', 'dead')
_ORDER = ('psnr', 'ssim', 'l1', 'frechet', 'token_cosine', 'token_mse', 'pooled_cosine', 't2i_', 'i2t_', 'kept', 'zeroshot_')
_SIGHT = ('psnr', 'ssim', 'l1', 'frechet', 'rfid', 'fid', 'lpips')
_MEANING = ('token_', 'pooled_', 't2i_', 'i2t_', 'zeroshot_', 'kept')


def slug(text):
    """Return text as part of a file's name."""
    return re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-').lower() or 'x'


def part_of(metric):
    """Return (set, metric) of SET/METRIC."""
    head, _, tail = metric.partition('/')
    return head, tail


def plain_of(metric):
    """Return the plain name of SET/METRIC, without the protocol that it may be of."""
    return split_name(part_of(metric)[1])[0]


def lower_is_better(metric):
    """Whether less of a metric (SET/METRIC) is better."""
    return table.lower_is_better(plain_of(metric))


def is_graded(metric):
    """Whether variants can be ranked by a metric: perplexity and dead codes depend on the size of the codebook."""
    return plain_of(metric).split('/')[0] not in ('perplexity', 'dead')


def kind_of(metric):
    """Return what a metric (SET/METRIC) is about: 'reconstruction', 'semantics', 'codes' or 'other'."""
    name = plain_of(metric)
    if name.startswith(_SIGHT):
        return 'reconstruction'
    if name.startswith(_MEANING):
        return 'semantics'
    return 'codes' if name.split('/')[0] in _CODES else 'other'


def order_of(metric):
    """Return a key by which metrics (SET/METRIC) sort as people read them: reconstruction, semantics, others, codes by vocabulary and depth."""
    name = plain_of(metric)
    kind = ('reconstruction', 'semantics', 'other', 'codes').index(kind_of(metric))
    if kind == 3:
        what, _, where = name.partition('/')
        vocabulary, depth = re.fullmatch(r'(.*?)(?:/depth([0-9]+))?', where).groups()
        return kind, 0, vocabulary, int(depth or -1), _CODES.index(what)
    known = next((i for i, start in enumerate(_ORDER) if name.startswith(start)), len(_ORDER))
    number = re.search(r'_(?:r|top)([0-9]+)', name)
    return kind, known, '', int(number.group(1)) if number else 0, name


def label(metric, sets=(), share='%'):
    """Return a name for people; the set follows where there are several and it is not `all`, then the unit of a share.

    Args:
        metric: SET/METRIC, or the name of a fact.
        sets: names of the held-out sets of the experiment, `all` apart.
        share: unit of a metric that is a share.
    """
    if metric in FACTS:
        return FACTS[metric][0]
    part, (name, protocol) = part_of(metric)[0], split_name(part_of(metric)[1])
    text = label_of(name) + (f' ({protocol})' if protocol else '')
    text = text if part == 'all' or len(sets) < 2 and part in sets else f'{text} ({part})'
    return f'{text} [{share}]' if is_share(metric) else text


def shown(metric, value, half=None, sign='', difference=False):
    """Return a value as text, `–` where there is none, followed by ± half the width of its interval where that is known.

    Args:
        metric: SET/METRIC, or the name of a fact.
        value, half: numbers or None; shares in [0, 1] are shown in percent.
        sign: '+' shows the sign.
        difference: whether the value is a difference, so that its size says nothing of the digits that matter.
    """
    if value is None:
        return '–'
    spec, factor = FACTS[metric][1] if metric in FACTS else format_of(plain_of(metric)), factor_of(metric)
    if spec.endswith('%'):
        spec = f'{spec[:-1]}f'
    elif spec.endswith('g'):
        spec = _fixed(half, 2) if difference and half else _fixed(value, 4)
    text = format(factor * value, sign + spec)
    text = text.lstrip('+-') if not any(c in '123456789' for c in text) else text  # no sign before a zero
    return (text if half is None else f'{text} ± {format(factor * half, spec)}').replace('-', '−')


def _fixed(value, digits):
    """Return the format with as many digits after the point as show `digits` significant ones of a value: its interval gets the same."""
    exponent = math.floor(math.log10(abs(value))) if value else 0
    return f'.{max(0, digits - 1 - exponent)}f' if -5 <= exponent < 7 else f'.{digits - 1}e'


def factor_of(metric):
    """Return what a metric is multiplied with to be shown: shares are shown in percent."""
    return 100.0 if is_share(metric) else 1.0


def is_share(metric):
    """Whether a metric is shown in percent."""
    return metric not in FACTS and format_of(plain_of(metric)).endswith('%')


def is_spread(metric):
    """Whether a metric says how sure another one is: it has no column of its own."""
    return metric.endswith('/stderr')


def headline(asked, present, sets):
    """Return the metrics that come first.

    Args:
        asked: those that the user or the grid names; where there are none, sensible ones are chosen.
        present: every metric that at least one finished trial has.
        sets: names of the held-out sets.

    Returns:
        (list of metrics, list of those that were asked for and that no trial has).
    """
    if asked:
        return [m for m in asked if m in present], [m for m in asked if m not in present]
    wishes = ['all/psnr', 'all/token_cosine', 'all/pooled_cosine', 'all/ssim']
    wishes += [f'{part}/{name}' for name in ('t2i_r1/tokens', 'i2t_r1/tokens', 'zeroshot_top1/tokens') for part in sets[:2]]
    wishes += [*(m for m in present if m.startswith('all/usage/') and '/depth' not in m), *present]
    chosen = [m for m in dict.fromkeys(wishes) if m in present and not is_spread(m)]
    return chosen[:MOST], []
