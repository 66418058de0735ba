"""The page of a report: one HTML file that holds everything, and takes nothing from elsewhere."""
from __future__ import annotations

import base64
import io
import json
import os
import re
import time
from html import escape
from typing import Any

from PIL import Image

from dtbox import __version__
from dtbox.counts import format_count
from dtbox.evaluation.names import is_stderr
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.figures import Figure
from dtbox.report.run_files import read_last_lines

LARGE = 4_000_000
"""Bytes that an image may have in the page; a larger one becomes a JPEG there, its file stays lossless."""


def build_data_uri(path: str) -> tuple[str, bool]:
    """Return (data URI of a PNG, whether it had to become a JPEG of at most `LARGE` bytes)."""
    with open(path, 'rb') as f:
        data = f.read()
    if len(data) <= LARGE:
        return f'data:image/png;base64,{base64.b64encode(data).decode()}', False
    image, quality = Image.open(io.BytesIO(data)).convert('RGB'), 88
    while len(data) > LARGE:
        out = io.BytesIO()
        image.save(out, 'JPEG', quality=quality)
        data, quality = out.getvalue(), quality - 10
        if quality < 50:
            image, quality = image.reduce(2), 88
    return f'data:image/jpeg;base64,{base64.b64encode(data).decode()}', True


def format_prose(text: str) -> str:
    """Return a docstring as HTML: paragraphs, lists of lines that start with a dash, and `code`."""
    parts = []
    for block in re.split(r'\n\s*\n', text.strip()):
        lines = re.split(r'\n(?=\s*- )', block.strip())
        lead = [] if lines[0].lstrip().startswith('- ') else [lines.pop(0)]
        parts += [f'<p>{_words(line)}</p>' for line in lead]
        if lines:
            parts.append(f'<ul>{"".join(f"<li>{_words(line.lstrip()[2:])}</li>" for line in lines)}</ul>')
    return ''.join(parts)


def _words(text: str) -> str:
    return re.sub(r'`([^`]+)`', r'<code>\1</code>', escape(' '.join(text.split()), quote=False))


def format_duration(seconds: float | None) -> str:
    """Return a time as '3 h 05 min', '4 min 10 s' or '12 s'."""
    if seconds is None:
        return 'unknown'
    seconds = int(round(seconds))
    if seconds >= 3600:
        return f'{seconds // 3600} h {seconds // 60 % 60:02d} min'
    return f'{seconds // 60} min {seconds % 60:02d} s' if seconds >= 60 else f'{seconds} s'


def list_failures(experiment: Experiment) -> list[dict[str, Any]]:
    """Return a dict for each trial that has not finished: name, status, reason and the last lines of its log."""
    failed = [t for t in experiment.trials if not t.done and (t.status != 'missing' or t.reason)]
    return [dict(name=t.name, status=t.status, reason=t.reason, log=read_last_lines(t.folder)) for t in failed]


def list_settings(experiment: Experiment) -> list[tuple[str, list[str]]]:
    """Return (name, lines) of each variant whose recipe and overrides are known."""
    known = {t.variant: t.settings for t in reversed(experiment.trials) if t.settings}
    return [(experiment.full(v), [f'{k} = {x if isinstance(x, str) else json.dumps(x)}' for k, x in known[v].items()])
            for v in experiment.variants if v in known]


def describe_origin(experiment: Experiment, command: str) -> list[tuple[str, str]]:
    """Return (name, text) pairs that say where everything comes from; `command` builds the report."""
    about, trials = experiment.about, [t for t in experiment.trials if t.done]
    seeds = ', '.join(map(str, sorted({t.seed for t in experiment.trials})))
    pairs = [('Command', about.get('command')), ('Config', about.get('config')), ('Started', about.get('started')),
             ('Seeds', seeds), ('Machine', _join(about.get('machine'))), ('Versions', _join(about.get('versions'))),
             ('Workers', about.get('workers')), ('Threads of a trial', about.get('threads')),
             ('Wall time of the grid', format_duration(about['seconds']) if about.get('seconds') is not None else None)]
    seconds = [t.facts['seconds'] for t in experiment.trials if 'seconds' in t.facts]
    pairs.append(('Time of all trials together', format_duration(sum(seconds)) if seconds else None))
    for kind in ('code_hash', 'plugin_hash', 'data_hash'):
        hashes = list(dict.fromkeys(t.hashes[kind] for t in trials if kind in t.hashes))
        text = ', '.join(hashes[:6]) + (f' and {len(hashes) - 6} more' if hashes[6:] else '')
        pairs.append((f'Hash of the {kind.partition("_")[0]}', text))
    date = time.strftime('%Y-%m-%d %H:%M')
    pairs += [('Command of this report', command), ('Report built', f'{date}, dtbox {__version__}')]
    return [(name, str(text)) for name, text in pairs if text not in (None, '', [], {})]


def _join(value: Any) -> Any:
    """Return a dict as one line of text, anything else as it is."""
    if not isinstance(value, dict):
        return value
    texts = {k: ', '.join(map(str, v)) if isinstance(v, list) else v for k, v in value.items()}
    return ', '.join(f'{k} {texts[k]}' for k, v in value.items() if v not in (None, '', []))


def list_warnings(experiment: Experiment, absent: list[str], paired: bool) -> list[str]:
    """Return sentences on what a reader must mind.

    Args:
        experiment: trials and what is known of them.
        absent: headline metrics that were asked for and that no trial has.
        paired: whether there are paired differences.
    """
    done = [t for t in experiment.trials if t.done]
    if not done:
        return ['No trial has finished: there is nothing to compare yet.']
    warnings = []
    open_ = [t for t in experiment.trials if t.status == 'missing' and not t.reason]
    if open_:
        warnings.append(f'{len(open_)} of {format_count(len(experiment.trials), "trial")} have not run yet.')
    empty = [experiment.name(v) for v in experiment.variants if not experiment.of(v)]
    if empty:
        warnings.append(f'No finished trial: {"; ".join(empty)}.')
    if absent:
        warnings.append(f'Asked for, but measured nowhere: {", ".join(absent)}.')
    lacking = _missing_scores(experiment, done)
    if lacking:
        more = f' and {len(lacking) - 6} more' if lacking[6:] else ''
        warnings.append(f'Not measured in every trial (a dash): {"; ".join(lacking[:6])}{more}.')
    for kind, what in (('code_hash', 'come from different versions of the code'), ('data_hash', 'saw different data')):
        if len({t.hashes.get(kind) for t in done}) > 1:
            warnings.append(f'The trials {what}: mind what is compared.')
    gone = [t.name for t in done if not os.path.isdir(t.folder)]
    if gone:
        what = '1 run folder is gone; its' if len(gone) == 1 else f'{len(gone)} run folders are gone; their'
        warnings.append(f'{what} curves and images are missing: {", ".join(gone[:5])}{" ..." if gone[5:] else ""}.')
    if experiment.reference is not None and not experiment.of(experiment.reference):
        warnings.append(f'The reference, {experiment.name(experiment.reference)}, has no finished trial: there are no '
                        'paired differences.')
    elif experiment.reference is not None and not paired and len(experiment.variants) - len(empty) > 1:
        warnings.append('No variant has a seed and scores of single images (samples.npz) in common with the reference: '
                        'no paired differences.')
    return warnings


def _missing_scores(experiment: Experiment, done: list[Trial]) -> list[str]:
    """Return the labels of scores that not every finished trial has; those of codes may differ by vocabulary."""
    described = {m: experiment.describe(m) for m in experiment.metrics if not is_stderr(m)}
    scores = sorted((m for m, d in described.items() if d.info.group != 'codes'), key=lambda m: described[m].sort_key)
    return list(dict.fromkeys(described[m].label for m in scores if any(m not in t.metrics for t in done)))


def render(experiment: Experiment, parts: dict[str, Any], folder: str, command: str) -> str:
    """Return the page as HTML.

    Args:
        experiment: Experiment.
        parts: what `dtbox.report.assembly.assemble` returns.
        folder: of the report; its figures are read from figures/.
        command: that builds the report.
    """
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup
    env = Environment(loader=PackageLoader('dtbox.report', ''), autoescape=True, trim_blocks=True, lstrip_blocks=True)

    def embed(figure: Figure) -> dict[str, Any]:
        path = figure.paths(os.path.join(folder, 'figures'))[0]
        uri, lossy = build_data_uri(path)
        with Image.open(path) as image:
            return dict(uri=uri, lossy=lossy, width=image.width, height=image.height)

    figures = {}
    for figure in parts['figures']:
        figures.setdefault(figure.kind, []).append(figure)
    counts = {}
    for trial in experiment.trials:
        counts[trial.status] = counts.get(trial.status, 0) + 1
    return env.get_template('page.html').render(
        experiment=experiment, parts=parts, figures=figures, counts=counts, done=counts.get('done', 0),
        failures=list_failures(experiment), origin=describe_origin(experiment, command),
        settings=list_settings(experiment), description=Markup(format_prose(experiment.description)),
        style=Markup(env.loader.get_source(env, 'style.css')[0]), table=lambda t: Markup(t.html()), embed=embed)
