"""By what two numbers of one name compare: the hash of the metrics with their settings, and the hash of the images as
they were prepared.

Two numbers compare where both hashes are equal. Files that settings name (weights, statistics) count by their content,
not by their place.
"""
from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from dtbox.checksums import compute_sha256
from dtbox.extend import Plugin, find_origin
from dtbox.registry import METRICS
from dtbox.weights.entries import name_entry, split_entry


def compute_digest(value: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of plain values; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def hash_settings(metrics: list) -> str:
    """Return the hash of a list of metrics: configs, or Metric objects, which count by their class alone. Metrics of a
    plugin count with the plugin's content, too."""
    return compute_digest([_with_plugin(metric) for metric in metrics])


def _with_plugin(metric: dict | Any) -> Any:
    """What stands for a metric; for one of a plugin [that, hash of the plugin]."""
    name = metric.get('type') if isinstance(metric, dict) else type(metric).__name__
    value = to_json_value(metric) if isinstance(metric, dict) else name
    origin = find_origin(METRICS, name) if name in METRICS.module_dict else None
    return [value, origin.hash] if isinstance(origin, Plugin) else value


def hash_dataset(dataset: Any) -> str:
    """Return the hash of a data set's content and transforms; '' where it cannot say what it holds."""
    if not hasattr(dataset, 'fingerprint'):
        return ''
    return compute_digest([dataset.fingerprint(), [_step(step) for step in getattr(dataset, 'pipeline', ())]])


def _step(step: Any) -> Any:
    if not hasattr(step, '__dict__'):
        return repr(step)
    return [type(step).__name__, to_json_value({k: v for k, v in vars(step).items() if not k.startswith('_')})]


def to_json_value(value: Any) -> Any:
    """Return a value as JSON can hold it; files by their content."""
    if isinstance(value, dict):
        return {str(k): to_json_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(v) for v in value]
    if isinstance(value, (str, os.PathLike)):
        path, entry = split_entry(os.fspath(value))
        if os.path.isfile(path):
            return name_entry(f'file {hash_file(path)}', entry)
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def hash_file(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's content, 16 hex digits."""
    return compute_sha256(path)[:16]
