"""The files of a run, as they lie on disk; what is cut short or missing is left out."""
from __future__ import annotations

import ast
import os
import re
from typing import Any

from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.names import split_set
from dtbox.evaluation.results import Results
from dtbox.rows import read_rows
from dtbox.runs import RunFolder


def read_results(folder: str) -> tuple[Results | None, dict[str, float], dict[str, str], list[MetricInfo]]:
    """Read what a run has measured: its metrics.json, and protocols.json, protocols.1.json, ... beside it; of these a
    later one counts for more.

    Args:
        folder: of the run.

    Returns:
        (results of metrics.json or None, SET/METRIC -> number, SET/METRIC -> stamp or '', infos).
    """
    run = RunFolder(folder)
    own, *others = map(Results.read, (run.metrics, *run.list_protocols()))
    metrics = {}
    stamps = {}
    infos = []
    for results in filter(None, (own, *others)):
        metrics.update(results.flat())
        stamps.update({name: results.stamp(split_set(name)[1]) for name in results.flat()})
        infos += results.infos
    return own, metrics, stamps, infos


def read_settings(path: str) -> dict[str, Any]:
    """Return the plain numbers that a config.py sets at its top, without running it."""
    try:
        with open(path, encoding='utf-8') as f:
            nodes = ast.parse(f.read()).body
    except (OSError, SyntaxError, ValueError):
        return {}
    pairs = [(node.targets[0], node.value) for node in nodes if isinstance(node, ast.Assign)]
    return {target.id: value.value for target, value in pairs
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and type(value.value) in (int, float)}


def read_seconds(folder: str) -> float | None:
    """Return how long a run has trained, by its history.jsonl, or None."""
    rows = read_rows(RunFolder(folder).history)
    return rows[-1].get('seconds') if rows else None


def read_last_lines(folder: str, count: int = 15, most: int = 32768) -> list[str]:
    """Return the last lines of a trial's log, at most `count`, control characters taken out; [] where there is no
    log."""
    path = next((p for p in RunFolder(folder).list_consoles() if os.path.getsize(p)), None)
    if path is None:
        return []
    with open(path, 'rb') as f:
        f.seek(max(0, os.path.getsize(path) - most))
        text = f.read().decode('utf-8', errors='replace')
    text = re.sub(r'\x1b\[[0-9;?]*[ -/]*[@-~]', '', text)
    lines = [line.rpartition('\r')[2] if '\r' in line.rstrip('\r') else line.rstrip('\r') for line in text.split('\n')]
    lines = [''.join(c for c in line if c == '\t' or c.isprintable())[:400] for line in lines]
    return [line for line in lines if line.strip()][-count:]
