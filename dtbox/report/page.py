"""The page of a report: one HTML file that holds everything, and takes nothing from elsewhere."""
import base64
import io
import json
import os
import re
import time
from html import escape

from PIL import Image

from dtbox import __version__
from dtbox.evaluation.names import is_stderr
from dtbox.report.figures import Figure
from dtbox.report.run_files import last_lines

LARGE = 4_000_000
"""Bytes that a picture may have in the page; a larger one is held there as JPEG, its file stays lossless."""


def data_uri(path):
    """Return (data URI of a PNG, whether it had to be made a JPEG of at most `LARGE` bytes)."""
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


def prose(text):
    """Return a docstring as HTML: paragraphs, lists of lines that start with a dash, and `code`."""
    parts = []
    for block in re.split(r'\n\s*\n', text.strip()):
        lines = re.split(r'\n(?=\s*- )', block.strip())
        lead = [] if lines[0].lstrip().startswith('- ') else [lines.pop(0)]
        parts += [f'<p>{_words(line)}</p>' for line in lead]
        if lines:
            parts.append(f'<ul>{"".join(f"<li>{_words(line.lstrip()[2:])}</li>" for line in lines)}</ul>')
    return ''.join(parts)


def _words(text):
    return re.sub(r'`([^`]+)`', r'<code>\1</code>', escape(' '.join(text.split()), quote=False))


def clock(seconds):
    """Return a time as '3 h 05 min', '4 min 10 s' or '12 s'."""
    if seconds is None:
        return 'unknown'
    seconds = int(round(seconds))
    if seconds >= 3600:
        return f'{seconds // 3600} h {seconds // 60 % 60:02d} min'
    return f'{seconds // 60} min {seconds % 60:02d} s' if seconds >= 60 else f'{seconds} s'


def failures(experiment):
    """Return a dict for each trial that has not finished: name, status, reason and the last lines of its log."""
    return [dict(name=t.name, status=t.status, reason=t.reason, log=last_lines(t.folder)) for t in experiment.trials
            if not t.done and (t.status != 'missing' or t.reason)]


def settings(experiment):
    """Return (name, lines) of each variant whose recipe and overrides are known."""
    found = {t.variant: t.settings for t in reversed(experiment.trials) if t.settings}
    return [(experiment.full(v), [f'{k} = {x if isinstance(x, str) else json.dumps(x)}' for k, x in found[v].items()])
            for v in experiment.variants if v in found]


def origin(experiment, command):
    """Return (name, text) pairs that say where everything comes from; `command` makes the report."""
    about, trials = experiment.about, [t for t in experiment.trials if t.done]
    found = [('Command', about.get('command')), ('Config', about.get('config')), ('Started', about.get('started')),
             ('Seeds', ', '.join(map(str, sorted({t.seed for t in experiment.trials})))),
             ('Machine', _said(about.get('machine'))), ('Versions', _said(about.get('versions'))),
             ('Workers', about.get('workers')), ('Threads of a trial', about.get('threads')),
             ('Wall time of the grid', clock(about['seconds']) if about.get('seconds') is not None else None)]
    seconds = [t.facts['seconds'] for t in experiment.trials if 'seconds' in t.facts]
    found.append(('Time of all trials together', clock(sum(seconds)) if seconds else None))
    for kind in ('code_hash', 'plugin_hash', 'data_hash'):
        hashes = list(dict.fromkeys(t.hashes[kind] for t in trials if kind in t.hashes))
        found.append((f'Hash of the {kind.partition("_")[0]}', ', '.join(hashes[:6]) + (f' and {len(hashes) - 6} more' if hashes[6:] else '')))
    found += [('Command of this report', command), ('Report made', f'{time.strftime("%Y-%m-%d %H:%M")}, dtbox {__version__}')]
    return [(name, str(text)) for name, text in found if text not in (None, '', [], {})]


def _said(value):
    if isinstance(value, dict):
        return ', '.join(f'{k} {", ".join(map(str, v)) if isinstance(v, list) else v}' for k, v in value.items() if v not in (None, '', []))
    return value


def warnings_of(experiment, absent, paired):
    """Return sentences on what a reader must mind.

    Args:
        absent: headline metrics that were asked for and that no trial has.
        paired: whether there are paired differences.
    """
    done = [t for t in experiment.trials if t.done]
    found = []
    if not done:
        return ['No trial has finished: there is nothing to compare yet.']
    open_ = [t for t in experiment.trials if t.status == 'missing' and not t.reason]
    if open_:
        found.append(f'{len(open_)} of {len(experiment.trials)} trials have not run yet.')
    empty = [experiment.name(v) for v in experiment.variants if not experiment.of(v)]
    if empty:
        found.append(f'No finished trial: {"; ".join(empty)}.')
    if absent:
        found.append(f'Asked for, but measured nowhere: {", ".join(absent)}.')
    scores = [m for m in experiment.metrics if experiment.describe(m).info.group != 'codes' and not is_stderr(m)]  # vocabularies may differ
    scores.sort(key=lambda m: experiment.describe(m).sort_key)
    lacking = list(dict.fromkeys(experiment.describe(m).label for m in scores if any(m not in t.metrics for t in done)))
    if lacking:
        found.append(f'Not measured in every trial (a dash): {"; ".join(lacking[:6])}{f" and {len(lacking) - 6} more" if lacking[6:] else ""}.')
    for kind, what in (('code_hash', 'were made by different versions of the code'), ('data_hash', 'saw different data')):
        if len({t.hashes.get(kind) for t in done}) > 1:
            found.append(f'The trials {what}: mind what is compared.')
    gone = [t.name for t in done if not os.path.isdir(t.folder)]
    if gone:
        what = '1 run folder is gone; its' if len(gone) == 1 else f'{len(gone)} run folders are gone; their'
        found.append(f'{what} curves and pictures are missing: {", ".join(gone[:5])}{" ..." if gone[5:] else ""}.')
    if experiment.reference is not None and not experiment.of(experiment.reference):
        found.append(f'The reference, {experiment.name(experiment.reference)}, has no finished trial: there are no paired differences.')
    elif experiment.reference is not None and not paired and len(experiment.variants) - len(empty) > 1:
        found.append('No variant has a seed and scores of single pictures (samples.npz) in common with the reference: no paired differences.')
    return found


def render(experiment, parts, folder, command):
    """Return the page as HTML.

    Args:
        experiment: Experiment.
        parts: dict of what `dtbox.report.assembly.assemble` made: `scores`, `paired`, `facts`, `details`, `trials` (Table or None, lists of them),
            `figures`, `warnings`.
        folder: of the report; its figures are read from figures/.
        command: that makes the report.
    """
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup
    env = Environment(loader=PackageLoader('dtbox.report', ''), autoescape=True, trim_blocks=True, lstrip_blocks=True)

    def picture(figure: Figure):
        path = figure.paths(os.path.join(folder, 'figures'))[0]
        uri, lossy = data_uri(path)
        with Image.open(path) as image:
            return dict(uri=uri, lossy=lossy, width=image.width, height=image.height)

    figures = {}
    for figure in parts['figures']:
        figures.setdefault(figure.kind, []).append(figure)
    counts = {}
    for trial in experiment.trials:
        counts[trial.status] = counts.get(trial.status, 0) + 1
    return env.get_template('page.html').render(
        experiment=experiment, parts=parts, figures=figures, counts=counts, done=counts.get('done', 0), failures=failures(experiment),
        origin=origin(experiment, command), settings=settings(experiment), description=Markup(prose(experiment.description)),
        style=Markup(env.loader.get_source(env, 'style.css')[0]), table=lambda t: Markup(t.html()), picture=picture)
