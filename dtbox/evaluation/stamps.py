"""What a number is a number of: the hash of the metrics with their settings, and the hash of the pictures as they were prepared.

Two numbers of one name compare where both hashes are equal. Files that settings name (weights, statistics) count by their content, not by
their place.
"""
import hashlib
import json
import os

RECIPE = 'recipe'
"""Name of the protocol that a config has in its `val_evaluator`."""


def digest(value):
    """Return the first 16 hex digits of the SHA-256 of plain values; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def settings_hash(metrics):
    """Return the hash of a list of metrics: configs, or Metric objects, which count by their class alone."""
    return digest([plain(m) if isinstance(m, dict) else type(m).__name__ for m in metrics])


def data_hash(dataset):
    """Return the hash of a data set's content and transforms; '' where it cannot say what it holds."""
    if not hasattr(dataset, 'fingerprint'):
        return ''
    steps = [[type(step).__name__, plain({k: v for k, v in vars(step).items() if not k.startswith('_')})] if hasattr(step, '__dict__') else repr(step)
             for step in getattr(dataset, 'pipeline', ())]
    return digest([dataset.fingerprint(), steps])


def plain(value):
    """Return a value as JSON can hold it; files by their content."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
        return f'file {file_hash(value)}'
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def file_hash(path):
    """Return the SHA-256 of a file's content, 16 hex digits."""
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        while block := f.read(1 << 22):
            h.update(block)
    return h.hexdigest()[:16]


def called(metric, protocol):
    """Return a metric's name under a protocol: ('psnr', 'P') -> 'psnr@P', ('zeroshot_top1/tokens', 'P') -> 'zeroshot_top1@P/tokens'."""
    head, slash, rest = metric.partition('/')
    return f'{head}@{protocol}{slash}{rest}'


def split_name(metric):
    """Undo `called`: 'zeroshot_top1@P/tokens' -> ('zeroshot_top1/tokens', 'P'); the protocol of a plain name is ''."""
    head, slash, rest = metric.partition('/')
    head, _, protocol = head.partition('@')
    return f'{head}{slash}{rest}', protocol


def stamp_of(metric, protocols):
    """Return (settings hash, data hash) of a metric by its name; None where it is not known.

    Args:
        metric: as `called` gives it, or a plain name for the recipe's own.
        protocols: `protocols` of results.
    """
    found = (protocols or {}).get(split_name(metric)[1] or RECIPE)
    return (found['hash'], found['data']) if isinstance(found, dict) and {'hash', 'data'} <= set(found) else None
