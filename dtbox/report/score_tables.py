"""The tables of a report: scores, facts, paired differences, every metric of each set, every trial."""
from __future__ import annotations

from dtbox.ablation.columns import FACTS, HASHES
from dtbox.evaluation.info import Described
from dtbox.evaluation.names import ALL, is_stderr, split_set
from dtbox.report import pairs
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.metric_names import format_label, format_value, make_slug
from dtbox.report.statistics import Difference, Mean, compute_mean
from dtbox.report.tables import Cell, Column, Table

INTERVAL = 'Mean ± half the width of the 95 % interval over seeds (Student t).'
BEST = ('↑ more is better, ↓ less is better; bold: the best mean of a column, which need not be separable from the '
        'next.')
IMAGES = ('Fractions of hits also depend on which images are held out, which no interval over seeds shows: compare '
          'them by paired differences.')
ARROWS = {True: '\u00a0↓', False: '\u00a0↑', None: ''}
"""Whether less is better -> what follows the title of a column."""
MIXED = ('Numbers of different protocols, or of the codes of different tokenizers, in one column do not compare, and '
         'none is marked as the best. Hashes of settings and data: ')
UNGRADED = ('A column without an arrow has no better direction (such as perplexity, which depends on the size of the '
            'codebook): none is the best.')
PAIRED = (
    'Variant minus reference over the same {count} images or queries and the same seeds, with a 95 % interval; ▲ '
    'better and ▼ worse where it leaves out 0. A point is one percent of the queries.',
    'Seeds and images are both taken as samples: a two-way analysis of the differences (Dorfman, Berbaum and Metz '
    '1992; half widths of seeds and images added in squares). Intervals are not corrected for the number of '
    'comparisons: of those without any difference, one in twenty leaves out 0 by chance. The CSV also has half widths '
    'over images alone, as if other seeds gave the same.')


def compute_means(experiment: Experiment, metric: str) -> dict[tuple, Mean | None]:
    """Return variant -> `Mean` of a metric or fact over its finished seeds, None where no seed has it."""
    table = 'facts' if metric in FACTS else 'metrics'
    values = {v: [getattr(t, table) for t in experiment.of(v).values()] for v in experiment.variants}
    return {v: compute_mean(numbers[metric] for numbers in seeds if metric in numbers) for v, seeds in values.items()}


def build_score_table(experiment: Experiment, metrics: list[str], name: str, title: str) -> Table:
    """Return the table of some metrics: a row for each variant, means over seeds with intervals, the best in bold."""
    columns_of_means = {m: compute_means(experiment, m) for m in metrics}
    described = {m: experiment.describe(m) for m in metrics}
    mixed = {m: groups for m in metrics if len(groups := experiment.group_stamps(m)) > 1}
    rows = []
    gaps = False
    several = False
    for variant in experiment.variants:
        count = len(experiment.of(variant))
        row = [_name(experiment, variant), Cell(str(count), raw=(count,))]
        for metric in metrics:
            mean = columns_of_means[metric][variant]
            text = format_value(described[metric], *((mean.value, mean.half) if mean else (None, None)))
            several = several or bool(mean and mean.half is not None)
            if mean and mean.count < count:
                text += f' (n {mean.count})'
            gaps = gaps or (mean.count if mean else 0) < count
            best = mean is not None and metric not in mixed and _best(mean.value, columns_of_means[metric],
                                                                      described[metric])
            row.append(Cell(text, best, raw=(mean.value, mean.half, mean.count) if mean else ()))
        rows.append(row)
    columns = [Column(experiment.heading, (experiment.heading,), words=True), Column('seeds', ('seeds',))]
    columns += [Column(_graded(d, experiment.sets), (m, f'{m} ±', f'{m} n')) for m, d in described.items()]
    notes = [INTERVAL if several else 'One seed each: no intervals.', BEST]
    if any(d.info.group == 'semantics' and d.is_fraction for d in described.values()):
        notes.append(IMAGES)
    if any(d.lower is None for d in described.values()):
        notes.append(UNGRADED)
    if mixed:
        notes.append(MIXED + '; '.join(f'{format_label(described[m], experiment.sets)}: {_tell_stamps(groups)}'
                                       for m, groups in mixed.items()) + '.')
    if gaps:
        notes.append('–: not measured; (n 2): measured in two seeds only.')
    return Table(name, title, columns, rows, notes)


def build_fact_table(experiment: Experiment) -> Table | None:
    """Return the table of costs and sizes, or None where nothing is known."""
    facts = [f for f in FACTS if any(f in t.facts for t in experiment.trials if t.done)]
    if not facts:
        return None
    described = {f: experiment.describe(f) for f in facts}
    columns_of_means = {f: compute_means(experiment, f) for f in facts}
    rows = []
    for variant in experiment.variants:
        row = [_name(experiment, variant)]
        for fact in facts:
            mean = columns_of_means[fact][variant]
            row.append(Cell(format_value(described[fact], mean.value if mean else None), raw=(mean.value,) if mean
                            else ()))
        rows.append(row)
    if experiment.about:
        notes = ['Means over seeds; time and memory are those of a whole trial, evaluation included.']
    else:
        notes = ['Means over seeds; the time is that of the training alone.']
    if len({t.facts.get('threads') for t in experiment.trials if t.done}) > 1:
        notes.append('The trials had different numbers of threads: their times do not compare.')
    columns = [Column(experiment.heading, (experiment.heading,), words=True)]
    columns += [Column(format_label(described[f]), (f,)) for f in facts]
    return Table('facts', 'Time, memory and size', columns, rows, notes)


def build_paired_table(experiment: Experiment, samples: pairs.Samples, metrics: list[str]) -> Table | None:
    """Return the table of paired differences to the reference variant, or None where no two variants can be
    compared."""
    reference = experiment.reference
    if reference is None or not experiment.of(reference):
        return None
    others = [v for v in experiment.variants if v != reference and experiment.of(v)]
    differences = {(v, m): pairs.compare(experiment, samples, v, m) for v in others for m in metrics}
    metrics = [m for m in metrics if any(differences[v, m] for v in others)]
    if not metrics:
        return None
    rows = []
    seeds = set()
    gaps = False
    for variant in others:
        shared = len(set(experiment.of(variant)) & set(experiment.of(reference)))
        row = [_name(experiment, variant), Cell(str(shared), raw=(shared,))]
        for metric in metrics:
            d = differences[variant, metric]
            seeds |= {d.seeds} if d else set()
            gaps = gaps or d is None or d.seeds < shared
            described = experiment.describe(metric)
            mixed = not described.info.of_codes and len(experiment.group_stamps(metric)) > 1
            row.append(_difference(d, described, shared, mixed))
        rows.append(row)
    columns = [Column(experiment.heading, (experiment.heading,), words=True), Column('seeds', ('seeds',))]
    parts = ('difference', 'low', 'high', 'seeds', 'images', '± images alone')
    for metric in metrics:
        described = experiment.describe(metric)
        title = format_label(described, experiment.sets, 'points') + ARROWS[described.lower]
        columns.append(Column(title, tuple(f'{metric} {part}' for part in parts)))
    title = f'Differences to the reference ({experiment.name(reference)})'
    return Table('paired', title, columns, rows, _paired_notes(differences, seeds, gaps))


def _difference(d: Difference | None, described: Described, shared: int, mixed: bool = False) -> Cell:
    """The cell of a `Difference`; `shared` seeds could have gone into it; `mixed` protocols have no better side."""
    if d is None:
        return Cell('–')
    graded = d.sure and d.seeds > 1 and described.lower is not None and not mixed
    better = (d.value < 0) == described.lower if graded else None
    low, high = (None, None) if d.half is None else (d.value - d.half, d.value + d.half)
    few = f' (n {d.seeds})' if d.seeds < shared else ''
    text = format_value(described, d.value, d.half, '+', difference=True) + few
    return Cell(text, better=better, raw=(d.value, low, high, d.seeds, d.images, d.narrow))


def _paired_notes(differences: dict[tuple, Difference | None], seeds: set[int], gaps: bool) -> list[str]:
    counts = [d.images for d in differences.values() if d]
    count = f'{min(counts):,}' if min(counts) == max(counts) else f'{min(counts):,} to {max(counts):,}'
    notes = [note.format(count=count) for note in PAIRED]
    if 1 in seeds:
        notes.append('Where there is one seed, the interval is over images alone and says nothing of other seeds: '
                     'no arrow.')
    if gaps:
        notes.append('–: no seed has scores of single images for both; (n 2): two seeds only have.')
    return notes


def build_detail_tables(experiment: Experiment) -> list[Table]:
    """Return tables of every metric, a table for each set and one for the use of the codes."""
    metrics = sorted((m for m in experiment.metrics if not is_stderr(m)), key=lambda m: experiment.describe(m).sort_key)
    tables = []
    for part in [ALL, *experiment.sets]:
        mine = [m for m in metrics if split_set(m)[0] == part]
        scores = [m for m in mine if experiment.describe(m).info.group != 'codes']
        codes = [m for m in mine if experiment.describe(m).info.group == 'codes']
        if scores:
            tables.append(build_score_table(experiment, scores, f'scores_{make_slug(part)}',
                                            f'Every score, {_set(part)}'))
        if codes:
            tables.append(build_score_table(experiment, codes, f'codes_{make_slug(part)}',
                                            f'Use of the codes, {_set(part)}'))
    return tables


def build_trial_table(experiment: Experiment) -> Table:
    """Return the table of all trials."""
    rows, time = [], experiment.describe('seconds')
    for t in experiment.trials:
        seconds = t.facts.get('seconds')
        cells = [Cell(t.name), Cell(str(t.seed), raw=(t.seed,)), Cell(t.status)]
        cells.append(Cell(format_value(time, seconds), raw=(seconds,)))
        rows.append([*cells, *(Cell(t.hashes.get(h, '–'), raw=(t.hashes.get(h),)) for h in HASHES)])
    columns = [Column('trial', words=True), Column('seed', ('seed',)), Column('status', words=True)]
    columns.append(Column(format_label(time), ('seconds',)))
    columns += [Column(h.replace('_', ' '), (h,), words=True) for h in HASHES]
    return Table('trials', 'Every trial', columns, rows)


def _set(part: str) -> str:
    return 'all held-out images' if part == ALL else f'held-out set {part}'


def _name(experiment: Experiment, variant: tuple) -> Cell:
    return Cell(experiment.full(variant), raw=(experiment.name(variant),))


def _graded(described: Described, sets: list[str]) -> str:
    return format_label(described, sets) + ARROWS[described.lower]


def _tell_stamps(groups: dict[str, list[Trial]]) -> str:
    return ', '.join(f'{stamp} ({" ".join(trial.name for trial in trials)})' for stamp, trials in groups.items())


def _best(value: float, column: dict[tuple, Mean | None], described: Described) -> bool:
    values = [m.value for m in column.values() if m is not None]
    if len(set(values)) < 2 or described.lower is None:
        return False
    return value == (min(values) if described.lower else max(values))
