"""Checkpoints: whole or not at all, tensors and plain types only, read with `weights_only=True`.

Content: `format` (int, see `dtbox.run_formats`), `meta` (plain; `dtbox` is the version that wrote it), `state_dict` of
the task, and what `dtbox.training.resume` needs to continue a run.
"""
from __future__ import annotations

import os
import random
import zipfile
from typing import Any, Container, Mapping

import numpy as np
import torch

from dtbox.checksums import find_damage
from dtbox.errors import InputError, reason
from dtbox.files import is_disk_full, parse_json, replacing
from dtbox.run_formats import FORMAT, Origin, check_format
from dtbox.runs import RunFolder
from dtbox.weights.entries import strip_wrappers
from dtbox.weights.torch_files import Damaged, load_checked

COUNTS = ('seed', 'world_size', 'batch_size', 'configured_batch', 'samples')
"""Entries of `meta` that are whole numbers."""


def save(checkpoint: Mapping[str, Any], path: str) -> None:
    """Write a checkpoint to a temporary file and rename it; an old one at `path` stays until the new one is whole."""
    try:
        with replacing(path) as temporary, open(temporary, 'wb') as f:  # Python's file: its errors tell of a full disk
            torch.save({'format': FORMAT, **to_plain(checkpoint)}, f)
    except (OSError, RuntimeError) as e:  # torch's writer raises RuntimeError
        if is_disk_full(e):
            raise
        raise InputError(f'the checkpoint {path} cannot be written ({reason(e)}). The one before is as it was.') from e


def refuse_damage(path: str, records: Container[str] | None = None) -> None:
    """Raise `InputError` where a record of a checkpoint, of `records` or of all, does not match its checksum."""
    damage = find_damage(path, records)
    if damage is not None:
        raise _explain_damage(path, damage)


def _explain_damage(path: str, record: str) -> InputError:
    return InputError(f'the checkpoint {path} is damaged: its record {record} does not match its checksum. A disk or a '
                      'copy has changed it; take another copy, or an earlier checkpoint (the hook Checkpoint keeps '
                      'some with `keep_every`).')


def load(path: str | os.PathLike, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint of dtbox onto the CPU.

    Args:
        path: the file, or a run folder that holds `checkpoint.pth`.
        mmap: map the file instead of reading it at once.

    Raises:
        InputError: no such file, not whole, or not a checkpoint of dtbox.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        path = RunFolder(path).checkpoint
    if not os.path.isfile(path):
        raise InputError(f'the checkpoint {path} does not exist. Give a checkpoint.pth or a run folder that holds one.')
    try:
        if mmap:
            refuse_damage(path, ('data.pkl',))
            checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        else:
            checkpoint = load_checked(path)
    except InputError:
        raise
    except Damaged as e:
        raise _explain_damage(path, e.record) from None
    except Exception as e:
        why = reason(e) if zipfile.is_zipfile(path) else 'it is not a zip file, as torch.save writes them'
        raise InputError(f'the checkpoint {path} cannot be read ({why}). '
                         'It may be cut short, or not be a checkpoint of dtbox.') from e
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint or 'format' not in checkpoint:
        keys = ', '.join(map(str, list(checkpoint)[:6])) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise InputError(f'{path} is not a checkpoint of dtbox: expected the keys format and state_dict, got {keys}. '
                         '`dtbox convert` reads published ones.')
    check_content(checkpoint, path)
    checkpoint['state_dict'] = strip_wrappers(checkpoint['state_dict'])
    check_format(f'the checkpoint {path}', Origin(checkpoint['format'], str(checkpoint['meta'].get('dtbox', ''))))
    return checkpoint


def check_content(checkpoint: dict[str, Any], path: str) -> None:
    """Raise `InputError` unless the entries of a checkpoint that every reader uses are of their kinds; `meta` may be
    absent."""
    checkpoint['meta'] = {} if checkpoint.get('meta') is None else checkpoint['meta']
    meta, state = checkpoint['meta'], checkpoint['state_dict']
    plugins = meta.get('plugins') or [] if isinstance(meta, dict) else []
    records = isinstance(plugins, list) and all(isinstance(record, dict) and isinstance(record.get('parts'), list)
                                                and {'name', 'hash', 'source'} <= set(record) for record in plugins)
    tensors = isinstance(state, dict) and all(isinstance(name, str) and isinstance(value, torch.Tensor)
                                              for name, value in state.items())
    facts = meta if isinstance(meta, dict) else {}
    wrong = [what for right, what in (
        (_is_count(checkpoint['format']), f'`format` is {checkpoint["format"]!r}, not a count'),
        (isinstance(meta, dict), f'`meta` is {meta!r:.60}, not a dict'),
        (records, '`meta.plugins` is not a list of records'),
        (tensors, '`state_dict` is not a dict of name -> tensor'),
        (_is_count(checkpoint.get('iteration', 0)), f'`iteration` is {checkpoint.get("iteration")!r}, not a count'),
        (_is_settings(facts.get('config')), '`meta.config` does not hold settings as JSON'),
        *((_is_count(facts[key]), f'`meta.{key}` is {facts[key]!r:.60}, not a count') for key in COUNTS
          if facts.get(key) is not None))
        if not right]
    if wrong:
        raise InputError(f'{path} is not a checkpoint that dtbox has written: {"; ".join(wrong)}.')


def _is_settings(value: Any) -> bool:
    try:
        return value is None or isinstance(value, str) and isinstance(parse_json(value), dict)
    except ValueError:
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def to_plain(value: Any) -> Any:
    """Turn arrays, numpy scalars and MMEngine containers into tensors and plain types, tensors onto the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {to_plain(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [to_plain(v) for v in value]
        return tuple(items) if type(value) is tuple else items
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    raise TypeError(f'a checkpoint holds tensors and plain types; got {type(value).__name__}: {value!r}')


def get_random_state() -> dict[str, Any]:
    """Return the state of Python's, NumPy's and PyTorch's generators, as tensors and plain types."""
    version, internal, gauss = random.getstate()
    legacy: Any = np.random.get_state()  # a tuple; the stub says a dict, too
    name, keys, pos, has_gauss, cached = legacy
    state = dict(python=[version, list(internal), gauss], torch=torch.get_rng_state(),
                 numpy=[name, torch.from_numpy(keys.astype(np.int64)), pos, has_gauss, cached])
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what `get_random_state` returned."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    name, keys, pos, has_gauss, cached = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), pos, has_gauss, cached))
    torch.set_rng_state(state['torch'])
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


def allow_mmengine_types() -> None:
    """Let `weights_only=True` read checkpoints that MMEngine's own hooks write (HistoryBuffer, numpy scalars)."""
    from mmengine.logging.history_buffer import HistoryBuffer
    multiarray = np._core.multiarray  # type: ignore[attr-defined]  # which NumPy's stubs leave out
    kinds = [HistoryBuffer, np.ndarray, np.dtype, multiarray._reconstruct, multiarray.scalar]
    kinds += [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    torch.serialization.add_safe_globals(kinds)


allow_mmengine_types()
