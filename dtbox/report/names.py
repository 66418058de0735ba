"""What the report knows about metrics: names for people, which way is better, and which come first.

A metric is named SET/METRIC, as in results.csv: `all/psnr`, `variants/t2i_r1/tokens`.
"""
import re

from dtbox.evaluation.table import format_of, label_of

MOST = 6
"""Headline metrics that are drawn, at most."""
NUMBERED = 14
"""Variants from which on (more than so many) they are numbered, so that plots can label them."""

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
_SIGHT = ('psnr', 'ssim', 'l1', 'frechet')
_MEANING = ('token_', 'pooled_', 't2i_', 'i2t_', 'zeroshot_', 'kept')


def slug(text):
    """Return text as part of a file's name."""
    return re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-').lower() or 'x'


def part_of(metric):
    """Return (set, metric) of SET/METRIC."""
    head, _, tail = metric.partition('/')
    return head, tail


def lower_is_better(metric):
    """Whether less is better: errors, distances, unused codes, costs."""
    name = part_of(metric)[1] or metric
    return name == 'l1' or name.startswith(('frechet', 'dead/')) or name.endswith('_mse') or metric in ('seconds', 'peak_mb', 'parameters', 'bits')


def kind_of(metric):
    """Return what a metric (SET/METRIC) is about: 'reconstruction', 'semantics', 'codes' or 'other'."""
    name = part_of(metric)[1]
    if name.startswith(_SIGHT):
        return 'reconstruction'
    if name.startswith(_MEANING):
        return 'semantics'
    return 'codes' if name.split('/')[0] in _CODES else 'other'


def order_of(metric):
    """Return a key by which metrics (SET/METRIC) sort as people read them: reconstruction, semantics, others, codes by vocabulary and depth."""
    name = part_of(metric)[1]
    kind = ('reconstruction', 'semantics', 'other', 'codes').index(kind_of(metric))
    if kind == 3:
        what, _, where = name.partition('/')
        vocabulary, depth = re.fullmatch(r'(.*?)(?:/depth([0-9]+))?', where).groups()
        return kind, 0, vocabulary, int(depth or -1), _CODES.index(what)
    known = next((i for i, start in enumerate(_ORDER) if name.startswith(start)), len(_ORDER))
    number = re.search(r'_(?:r|top)([0-9]+)', name)
    return kind, known, '', int(number.group(1)) if number else 0, name


def label(metric, sets=()):
    """Return a name for people; the set follows where there are several and it is not `all`.

    Args:
        metric: SET/METRIC, or the name of a fact.
        sets: names of the held-out sets of the experiment, `all` apart.
    """
    if metric in FACTS:
        return FACTS[metric][0]
    part, name = part_of(metric)
    text = label_of(name)
    return text if part == 'all' or len(sets) < 2 and part in sets else f'{text} ({part})'


def shown(metric, value, sign=''):
    """Return a value as text, '–' where there is none; `sign='+'` shows the sign."""
    if value is None:
        return '–'
    spec = FACTS[metric][1] if metric in FACTS else format_of(part_of(metric)[1])
    return format(value, sign + spec).replace('-', '−')


def plotted(metric, sets=()):
    """Return (name with its unit, factor) for an axis of a plot: shares are drawn in percent."""
    return (f'{label(metric, sets)} [%]', 100.0) if is_share(metric) else (label(metric, sets), 1.0)


def is_share(metric):
    """Whether a metric is shown in percent."""
    return metric not in FACTS and format_of(part_of(metric)[1]).endswith('%')


def is_spread(metric):
    """Whether a metric says how sure another one is: it has no column of its own."""
    return metric.endswith('/stderr')


def headline(asked, present, sets):
    """Return the metrics that come first.

    Args:
        asked: those that the grid names; where it names none, sensible ones are chosen.
        present: every metric that at least one finished trial has.
        sets: names of the held-out sets.

    Returns:
        (list of metrics, list of those that were asked for and that no trial has).
    """
    if asked:
        return [m for m in asked if m in present], [m for m in asked if m not in present]
    wishes = ['all/psnr', 'all/token_cosine']
    wishes += [f'{part}/{name}' for name in ('t2i_r1/tokens', 'i2t_r1/tokens', 'zeroshot_top1/tokens') for part in sets[:2]]
    wishes += ['all/pooled_cosine', 'all/ssim', *(m for m in present if m.startswith('all/usage/') and '/depth' not in m), *present]
    chosen = [m for m in dict.fromkeys(wishes) if m in present and not is_spread(m)]
    return chosen[:MOST], []
