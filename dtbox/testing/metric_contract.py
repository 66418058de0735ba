"""The contract of metrics (see `dtbox.evaluation.base`)."""
from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import torch

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.info import Infos
from dtbox.extend import load_plugins
from dtbox.testing.contract import Contract, index_by_name
from dtbox.testing.metric_subject import COUNT, MetricSubject
from dtbox.testing.rank_group import RankError
from dtbox.testing.subject import DoesNotApply, fail, require

TOLERANCE = 1e-4
"""Largest relative difference between one batch and several: networks sum other batches in another order, in float32.
"""


def require_values(measured: dict[str, float], want: dict[str, float], what: str) -> None:
    """Raise `Broken` unless two dicts of values are equal within `TOLERANCE`, NaN being equal to NaN."""
    require(measured.keys() == want.keys(), f'{what}: the values {sorted(measured.keys() ^ want.keys())} are on one '
            'side '
            'only.')
    wrong = [f'`{name}` is {measured[name]!r} and {value!r}' for name, value in want.items()
             if not math.isclose(measured[name], value, rel_tol=TOLERANCE, abs_tol=1e-9)
             and not (math.isnan(measured[name]) and math.isnan(value))]
    require(not wrong, f'{what}: {", ".join(wrong)}.')


def values(subject: MetricSubject) -> None:
    """`compute` returns name -> number; names are words joined by `/`, with the prefix in front where there is one."""
    metric = subject.measured()
    computed = metric.compute()
    for name, value in computed.items():
        require(isinstance(name, str) and name and ' ' not in name,
                f'a value is called {name!r}; expected words joined by `/`.')
        require(type(value) is float and not math.isinf(value), f'`{name}` is {value!r}; expected a finite number.')
    require_values(metric.compute(), computed, '`compute` twice')
    try:
        prefixed = subject.build(prefix='mine')
    except Exception as e:
        fail(f'the constructor does not take `prefix`, which tells two metrics of one class apart: {e}')
    subject.measure(COUNT, metric=prefixed)
    require_values(prefixed.compute(), {f'mine/{name}': value for name, value in computed.items()},
                   'values with the prefix `mine`')


def description(subject: MetricSubject) -> None:
    """`info` describes every value: tables, reports and grids know its label, format and direction."""
    metric = subject.build(prefix='mine')
    try:
        infos = Infos(metric.infos())
    except InputError as e:
        fail(e.message)
    for name in subject.measure(COUNT, metric=metric).compute():
        require(infos.knows(name), f'no MetricInfo of `info` describes the value `{name.removeprefix("mine/")}`.')


def streaming(subject: MetricSubject) -> None:
    """Several batches, one of a single image among them, give what one batch gives."""
    want = subject.measured().compute()
    for ends in ((5, 6, 12), tuple(range(1, COUNT + 1))):
        require_values(subject.measure(*ends).compute(), want, f'{format_count(len(ends), "batch")} and one')


def merge(subject: MetricSubject) -> None:
    """Two metrics that saw a part each, merged, give what one gives (where `merges` says that sets add up)."""
    want = subject.measured().compute()
    first, second = subject.measure(5), subject.build()
    if not first.merges:
        raise DoesNotApply('sums of several sets make no sense as one (`merges` is False).')
    second.process(*subject.part(5, COUNT))
    require_values(first.merge(second).compute(), want, 'two metrics merged and one')


def fresh(subject: MetricSubject) -> None:
    """`fresh` is an empty copy of its own, `reset` forgets: neither remembers what was seen."""
    want, metric = subject.measured().compute(), subject.measure(COUNT)
    other = metric.fresh()
    require(not other.state and not other.compute(), 'a fresh copy knows sums.')
    require_values(subject.measure(COUNT, metric=other).compute(), want, 'a fresh copy that saw the same')
    require_values(metric.compute(), want, 'a metric after its fresh copy saw images')
    metric.reset()
    require(not metric.compute(), f'after `reset` the metric still has {sorted(metric.compute())}.')
    require_values(subject.measure(COUNT, metric=metric).compute(), want, 'a metric after `reset`')


def missing_parts(subject: MetricSubject) -> None:
    """Without one of what it `requires` the metric raises nothing, has no values, and says why in `skipped`."""
    metric = subject.measured()
    for name in metric.requires:
        batch = subject.batch
        outputs = subject.outputs
        context = metric.context
        head, _, rest = name.partition('.')
        if head == 'batch':
            batch = drop_field(batch, rest)
        elif head == 'context':
            context = drop_field(context, rest)
        else:
            outputs = drop_field(outputs, name)
        lacking = subject.build()
        lacking.setup(context)
        try:
            lacking.process(batch, outputs)
            computed = lacking.compute()
        except Exception as e:
            fail(f'without `{name}` the metric raises {type(e).__name__}: {e}')
        require(not computed, f'without `{name}`, which it requires, the metric has the values {sorted(computed)}.')
        require(lacking.skipped, f'without `{name}` there are no values, and `skipped` does not say why.')


def drop_field(thing: Any, path: str) -> Any:
    """Return a dataclass with the field under `path` emptied."""
    name, _, rest = path.partition('.')
    value = getattr(thing, name)
    if rest:
        value = {k: v for k, v in value.items() if k != rest} if isinstance(value, dict) else drop_field(value, rest)
    else:
        value = {} if isinstance(value, dict) else None
    return type(thing)(**{**{f.name: getattr(thing, f.name) for f in fields(thing)}, name: value})


def samples(subject: MetricSubject) -> None:
    """What is kept of single samples has one number for each image, the same in one batch and in several."""
    metric, parts = subject.measured(), subject.measure(5, 6, 12)
    metric.sync()
    parts.sync()
    kept, again = metric.samples(), parts.samples()
    require(kept.keys() == again.keys(), f'samples {sorted(kept.keys() ^ again.keys())} are there in one batch or in '
            'several only.')
    for name, numbers in kept.items():
        require(len(numbers) == COUNT, f'`{name}` is kept {format_count(len(numbers), "time")} for {COUNT} images.')
        require(torch.allclose(torch.as_tensor(numbers), torch.as_tensor(again[name]), rtol=1e-5, atol=1e-7,
                               equal_nan=True),
                f'`{name}` of single samples differs between one batch and several.')


def no_gradient(subject: MetricSubject) -> None:
    """Outputs that ask for a gradient are measured without one, and are not changed."""
    outputs = subject.outputs
    names = [name for name in ('reconstructions', 'pooled') if hasattr(outputs, name)]
    asking = outputs.replace(**{name: getattr(outputs, name).clone().requires_grad_(True) for name in names})
    metric = subject.build()
    metric.process(subject.batch, asking)
    wrong = [name for name, value in metric.state.items() if value.requires_grad]
    require(not wrong, f'the sums {", ".join(wrong)} carry a graph.')
    for name in names:
        require(torch.equal(getattr(asking, name), getattr(outputs, name)),
                f'`{name}` is another after the metric saw it.')


def measure_part(rank: int, world: int, cfg: dict, plugins: list[str], ends: tuple[int, ...]) -> tuple[dict, str]:
    """Return values and `skipped` of a rank that saw the images up to its entry of `ends`, from that of the rank before
    on."""
    load_plugins(plugins)
    subject = MetricSubject(cfg)
    metric = subject.build()
    start = 0 if rank == 0 else ends[rank - 1]
    stop = ends[rank]
    for first in range(start, stop, 4):
        metric.process(*subject.part(first, min(first + 4, stop)))
    metric.sync()
    return metric.compute(), metric.skipped


def two_ranks(subject: MetricSubject) -> None:
    """Two ranks with parts of unlike size, one of them without any, have the values of one rank with all images."""
    want = subject.measured().compute()
    for ends in ((5, COUNT), (0, COUNT)):
        try:
            ranks = subject.ranks.run(measure_part, subject.cfg, subject.plugins, ends)
        except RankError as e:
            fail(f'with {ends[0]} and {COUNT - ends[0]} images the ranks failed: {e}')
        for rank, (measured, _) in enumerate(ranks):
            require_values(measured, want, f'rank {rank}, with {ends[0]} and {COUNT - ends[0]} images on the ranks, '
                           'and '
                           'one rank')


METRIC = Contract('metric', 'metrics', MetricSubject, index_by_name(
    values, description, streaming, merge, fresh, missing_parts, samples, no_gradient, two_ranks))
