"""Build a report: read, count, draw, write into a new folder, and put that in the place of an earlier report."""
from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from dtbox import __version__
from dtbox.errors import InputError
from dtbox.files import apply_umask, in_use, parse_json, remove_leftovers
from dtbox.report import anchor_tables, conversation_figures, figures, pairs
from dtbox.report import metric_names as names
from dtbox.report import score_tables as scores
from dtbox.report.experiment import Experiment
from dtbox.report.page import list_warnings, render
from dtbox.report.relative import build_relative_table
from dtbox.report.trials import read

MARK = 'report.json'
"""File by which the folder of a report is known: it names every file of the report, with its hash."""


def build(folders: str | os.PathLike | Sequence[str | os.PathLike], out: str | os.PathLike | None = None,
          metrics: Sequence[str] = (), reference: str | None = None, mixed: bool = False) -> str:
    """Build the report of a grid, or of run folders, from what lies on disk; no model is run.

    Args:
        folders: folder of a grid (str), or a list of one such or of run folders.
        out: folder of the report; None means report/ in the folder of the grid. An earlier report there is replaced in
            one step.
        metrics: headline metrics (SET/METRIC) in place of the grid's.
        reference: name of the variant that others are compared with, in place of the grid's (for runs, the first).
        mixed: put numbers of different protocols into one column all the same.

    Returns:
        path of the page.

    Raises:
        InputError: nothing to report on (see `trials.read`), no `out` for runs, `out` holds files that no report wrote,
            or cannot be written.
    """
    given = [os.fspath(f) for f in ([folders] if isinstance(folders, (str, os.PathLike)) else folders)]
    experiment = read(given, metrics, reference, mixed)
    if out is None:
        if not os.path.isfile(os.path.join(given[0], 'results.csv')):
            raise InputError('a report on run folders needs a folder to go to: --out DIR.')
        out = os.path.join(given[0], 'report')
    out = os.path.abspath(os.fspath(out))
    try:
        check_place(out)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        new = tempfile.mkdtemp(prefix=f'.{os.path.basename(out)}.', suffix='.part', dir=os.path.dirname(out))
    except OSError as e:
        raise InputError(f'a report cannot go to {out} ({e.strerror}: {e.filename}). '
                         'Give another folder: --out DIR.') from e
    try:
        with in_use(new):
            parts = assemble(experiment, new)
            command = _command(given, out, metrics, reference, mixed)
            _write(os.path.join(new, 'index.html'), render(experiment, parts, new, command))
            _seal(new)
            apply_umask(new)
            check_place(out)
            _swap(new, out)
        # of reports that were killed; not before a whole one is in its place
        remove_leftovers(os.path.dirname(out), re.compile(rf'\.{re.escape(os.path.basename(out))}\.\w+\.(part|old)'))
    except OSError as e:
        raise InputError(f'the report cannot be written to {out} ({e}). What was there before is unchanged.') from e
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return os.path.join(out, 'index.html')


def _command(folders: list[str], out: str, metrics: Sequence[str], reference: str | None, mixed: bool = False) -> str:
    """Return the command that builds this report."""
    parts = ['dtbox', 'report', *folders]
    if [out] != [os.path.join(os.path.abspath(f), 'report') for f in folders]:
        parts += ['--out', out]
    parts += ['--metrics', *metrics] if metrics else []
    parts += ['--reference', reference] if reference is not None else []
    parts += ['--mixed-protocols'] if mixed else []
    return shlex.join(parts)


def assemble(experiment: Experiment, folder: str) -> dict[str, Any]:
    """Write tables/ and figures/ into a folder.

    Returns:
        dict: `scores`, `paired`, `facts`, `trials` (Table or None), `anchors`, `details` (Tables), `figures` (Figures),
        `warnings` (sentences).
    """
    places = {part: os.path.join(folder, part) for part in ('tables', 'figures')}
    for place in places.values():
        os.makedirs(place)
    samples = pairs.Samples(experiment.infos)
    asked, absent = names.choose_headline(experiment)
    first = asked[:names.MOST]
    anchors, unread = anchor_tables.build_anchor_tables(experiment)
    parts: dict[str, Any] = dict(
        scores=scores.build_score_table(experiment, asked, 'scores', 'Scores') if asked else None,
        paired=scores.build_paired_table(experiment, samples, pairs.choose_columns(experiment, asked)),
        facts=scores.build_fact_table(experiment), anchors=anchors,
        details=[*filter(None, [build_relative_table(experiment)]), *scores.build_detail_tables(experiment)],
        trials=scores.build_trial_table(experiment) if experiment.trials else None)
    for table in [parts['scores'], parts['paired'], parts['facts'], parts['trials'], *anchors, *parts['details']]:
        if table is not None:
            for suffix, text in (('md', table.markdown()), ('csv', table.csv()), ('tex', table.latex())):
                _write(os.path.join(places['tables'], f'{table.name}.{suffix}'), text)
    drawn = [*figures.draw_tradeoffs(experiment, first, places['figures']),
             *figures.draw_axis_figures(experiment, first, places['figures']),
             *figures.draw_curve_figures(experiment, places['figures'])]
    sheet, troubles = figures.draw_heldout_sheet(experiment, places['figures'])
    shown, broken = conversation_figures.copy_sheets(experiment, places['figures'])
    warnings = [*list_warnings(experiment, absent, parts['paired'] is not None), *samples.troubles, *troubles,
                *unread, *broken]
    return dict(parts, figures=drawn + ([sheet] if sheet else []) + shown, warnings=warnings)


def check_place(out: str) -> None:
    """Raise `InputError` unless a report may go to `out`: it does not exist, is an empty folder, or an unchanged
    report."""
    if not os.path.lexists(out):
        return
    if not os.path.isdir(out) or os.path.islink(out):
        raise InputError(f'a report cannot go to {out}: it is not a folder. Give another: --out DIR.')
    files = _list(out)
    if not files:
        return
    try:
        with open(os.path.join(out, MARK), encoding='utf-8') as f:
            known = parse_json(f.read())['files']
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f'{out} holds files that no report wrote. Give a folder that is new, empty or an earlier '
                         'report: --out DIR.') from None
    for name in files:
        path = os.path.join(out, name)
        if name != MARK and name not in known:
            raise InputError(f'{path} is not a file of the report. Move it away, or give another folder: --out DIR.')
        if name != MARK and known[name] != _digest(path):
            raise InputError(f'{path} was changed after the report was built. Move it away, or give another folder: '
                             '--out DIR.')


def _seal(folder: str) -> None:
    hashes = {name: _digest(os.path.join(folder, name)) for name in _list(folder)}
    about = dict(made_by=f'dtbox {__version__}', format=1, files=hashes)
    _write(os.path.join(folder, MARK), json.dumps(about, indent=1) + '\n')


def _swap(new: str, out: str) -> None:
    """Put `new` in the place of `out`; on failure what was there comes back."""
    aside = None
    if os.path.lexists(out):
        aside = tempfile.mkdtemp(prefix=f'.{os.path.basename(out)}.', suffix='.old', dir=os.path.dirname(out))
        os.rename(out, os.path.join(aside, 'report'))
    try:
        os.rename(new, out)
    except OSError:
        if aside:
            os.rename(os.path.join(aside, 'report'), out)
            os.rmdir(aside)
        raise
    if aside:
        shutil.rmtree(aside, ignore_errors=True)


def _list(folder: str) -> list[str]:
    """Return the files below a folder, with / between the parts of a path."""
    return sorted(os.path.relpath(os.path.join(place, name), folder).replace(os.sep, '/')
                  for place, _, files in os.walk(folder) for name in files)


def _digest(path: str) -> str:
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def _write(path: str, text: str) -> None:
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
