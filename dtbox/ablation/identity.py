"""When two trials are the same: the hash of the resolved config, of dtbox's code, of the plugins and of the data and
weights."""
from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

import dtbox
from dtbox.apis.pretrained import CONFIG, WEIGHTS
from dtbox.checksums import compute_sha256
from dtbox.config import resolve
from dtbox.extend.record import find_needed
from dtbox.runs import RunFolder
from dtbox.weights.entries import split_entry
from dtbox.weights.hub import HUB
from dtbox.weights.hub_models import find_model
from dtbox.weights.state_dicts import ZOO, find_local_path

PLACES = ('work_dir', 'tiny', 'plugins')
"""Top-level keys that say where something is and not what a run computes; plugins count by their content."""
PARTS = ('config_hash', 'code_hash', 'plugin_hash', 'data_hash')


def compute_digest(*lines: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of some strings."""
    h = hashlib.sha256()
    for line in lines:
        h.update(str(line).encode() + b'\0')
    return h.hexdigest()[:16]


def hash_config(cfg: Config) -> str:
    """Return the hash of a config, references resolved; the order of keys does not count."""
    plain = resolve(cfg)._cfg_dict.to_dict()
    return compute_digest(json.dumps(_plain({k: v for k, v in plain.items() if k not in PLACES}), sort_keys=True))


def _plain(value):
    if isinstance(value, dict):
        return {f'{type(k).__name__}:{k}' if not isinstance(k, str) else k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def hash_code() -> str:
    """Return the hash of every .py file of the dtbox package."""
    root = Path(dtbox.__file__).parent
    files = sorted(p for p in root.rglob('*.py') if '.mim' not in p.relative_to(root).parts)
    return compute_digest(*(f'{p.relative_to(root).as_posix()}:{hashlib.sha256(p.read_bytes()).hexdigest()}'
                            for p in files))


def hash_plugins(cfg: Config) -> str:
    """Return the hash of the plugins that a run of a config computes with (see `find_needed`), '' where there are
    none."""
    found = find_needed(resolve(cfg))
    return compute_digest(*sorted(f'{p.name}:{p.hash}' for p in found)) if found else ''


def hash_data(cfg: Config, train: Any, heldout: Any) -> str:
    """Return the hash of a run's data sets and of the files (weights, tokenizers) that its config names.

    Args:
        cfg: Config.
        train, heldout: data sets with a `fingerprint()`, or None.
    """
    return hash_files(cfg, hash_sets(train, heldout))


def hash_sets(train: Any, heldout: Any) -> list[str]:
    """Return a line for each data set with its fingerprint; arguments as of `hash_data`."""
    return [f'{name}:{dataset.fingerprint()}' for name, dataset in (('train', train), ('heldout', heldout))
            if dataset is not None]


def hash_files(cfg: Config, sets: list[str]) -> str:
    """Return `hash_data` of data sets that are hashed already, `sets` of `hash_sets`."""
    files = [f'{key}:{_file_hash(*_stamp(path))}' for key, path in sorted(_files(resolve(cfg)._cfg_dict.to_dict()))]
    return compute_digest(*sets, *files)


def _files(node, path=''):
    """Yield (dotted key, path) of every file that a config names; those of the top level are references' targets and
    come once."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _files(value, f'{path}.{key}' if path else str(key))
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _files(value, f'{path}.{i}')
    elif isinstance(node, str) and (node.startswith(ZOO) or os.path.isfile(split_entry(node)[0])):
        yield path, find_local_path(split_entry(node)[0])
    elif isinstance(node, str) and (node.startswith(HUB) or node and os.path.isdir(node)):  # such as `load_from`
        node = find_model(node)
        files = [os.path.join(node, name) for name in (CONFIG, WEIGHTS)] + [RunFolder(node).checkpoint]
        yield from ((f'{path}/{os.path.basename(file)}', file) for file in files if os.path.isfile(file))


def _stamp(path):
    stat = os.stat(path)
    return path, stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=None)
def _file_hash(path, size, changed):
    return compute_sha256(path)


def compute_identity(hashes: dict[str, str]) -> str:
    """Return the one hash that stands for all four: dict with the keys of PARTS -> 16 hex digits."""
    return compute_digest(*(hashes[part] for part in PARTS))
