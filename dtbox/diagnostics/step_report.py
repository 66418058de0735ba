"""The result of `dtbox diagnose time` as text, Markdown and JSON."""
from __future__ import annotations

import json
import os
from dataclasses import asdict

from dtbox.diagnostics.step_time import StepTime
from dtbox.files import write_atomic

MOST = 12
"""Operators that are listed."""
Table = tuple[str, list[str], list[list[str]]]
"""Title, header, rows."""


def write_result(result: StepTime, name: str, folder: str) -> None:
    """Write time.md and time.json; `name` is that of the recipe."""
    os.makedirs(folder, exist_ok=True)
    write_atomic(os.path.join(folder, 'time.md'), format_markdown(result, name))
    told = dict(recipe=name, **asdict(result), rate=result.rate, least=result.least)
    write_atomic(os.path.join(folder, 'time.json'), json.dumps(told, indent=1) + '\n')


def describe_step(result: StepTime) -> list[str]:
    """Return what the step takes, as sentences."""
    place = result.device if result.device != 'CPU' else f'CPU, {result.threads} thread{"s" * (result.threads != 1)}'
    kind = 'autocast to bfloat16' if result.half else 'float32'
    rates = ', '.join(f'{name} {format_rate(rate)}' for name, rate in result.rates.items())
    return [f'{place}; batch {result.batch}, {kind}; rate of large matrix products: {rates}',
            f'a step takes {1000 * result.seconds:,.4g} ms ({1000 * result.profiled:,.4g} ms with the profiler, which '
            'the tables divide)',
            f'its {result.flops / 1e9:,.4g} GFLOP would take {1000 * result.least:,.4g} ms at the matrix rate: '
            f'{100 * result.least / result.seconds:.0f} % of the step', *result.remarks]


def make_tables(result: StepTime) -> list[Table]:
    """Return the tables: by part, by kind of operator, single operators."""
    whole = result.profiled
    parts = [[name, ms(forward), ms(backward), percent(forward + backward, whole),
              giga(result.part_flops.get(name)), fraction(result.part_flops.get(name), forward, result.rate)]
             for name, (forward, backward) in sorted(result.parts.items(), key=lambda item: -sum(item[1]))]
    parts.append(['nothing runs on the device' if result.device != 'CPU' else 'Python, between operators',
                  ms(result.idle), '', percent(result.idle, whole), '', ''])
    kinds = [[name, ms(seconds), percent(seconds, whole), giga(result.kind_flops.get(name)),
              fraction(result.kind_flops.get(name), seconds, result.rate)]
             for name, seconds in sorted(result.kinds.items(), key=lambda item: -item[1])]
    operators = [[name.removeprefix('aten::'), ms(seconds), percent(seconds, whole)]
                 for name, seconds in sorted(result.operators.items(), key=lambda item: -item[1])[:MOST]]
    rate = 'of the rate'
    return [('By part', ['part', 'forward [ms]', 'backward [ms]', 'of the step', 'forward [GFLOP]', rate], parts),
            ('By kind of operator', ['kind', 'ms', 'of the step', 'GFLOP', rate], kinds),
            ('Longest operators', ['operator', 'ms', 'of the step'], operators)]


def format_terminal(result: StepTime) -> str:
    """Return the first two tables as aligned text."""
    lines = describe_step(result)
    for _, header, rows in make_tables(result)[:2]:
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines.append('')
        lines += ['  '.join(cell.ljust(w) if i == 0 else cell.rjust(w)
                            for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in [header, *rows]]
    return '\n'.join(lines)


def format_markdown(result: StepTime, name: str) -> str:
    """Return everything as a page."""
    lines = [f'# Time of a training step: {name}', '', *(f'- {line}' for line in describe_step(result))]
    for title, header, rows in make_tables(result):
        lines += ['', f'## {title}', '', f'| {" | ".join(header)} |', f'|{"---|" * len(header)}',
                  *(f'| {" | ".join(row)} |' for row in rows)]
    return '\n'.join(lines) + '\n'


def format_rate(rate: float) -> str:
    """Return operations a second with a unit."""
    return f'{rate / 1e12:.3g} TFLOP/s' if rate >= 1e12 else f'{rate / 1e9:.3g} GFLOP/s'


def ms(seconds: float) -> str:
    """Return seconds as milliseconds."""
    return f'{1000 * seconds:,.1f}' if seconds else ''


def percent(value: float, whole: float) -> str:
    """Return a fraction in percent."""
    return f'{100 * value / whole:.1f} %' if whole else ''


def giga(value: float | None) -> str:
    """Return a number of operations in 10^9, '' where there are none."""
    return f'{value / 1e9:,.4g}' if value else ''


def fraction(flops: float | None, seconds: float, rate: float) -> str:
    """Return the fraction of the matrix rate that operations reach, '' where there are none."""
    return f'{100 * flops / seconds / rate:.0f} %' if flops and seconds else ''
