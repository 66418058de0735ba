"""Scores of single samples, for comparisons that pair two runs image by image: `samples.npz` of a run folder.

The file (numpy, no pickle) holds a row for each held-out image, sorted by set and key, so that it does not depend on
the number of ranks: `keys` and `sets` (text), and one float64 array a score (`psnr`, `ssim`, `l1`, `token_cosine`,
`token_mse`, `pooled_cosine`; `zeroshot/SIDE`, 1.0 where the right class comes first), NaN where an image was not
measured. Queries of retrieval do not match images one to one and have rows of their own: `t2i/keys` (the captions),
`i2t/keys` (the images), `t2i/sets`, `i2t/sets`, and `t2i/SIDE`, `i2t/SIDE`, the place of the best right answer, counted
from 0: below K is a hit at R@K. SIDE is `teacher` or `tokens`. Drawings of a multimodal language model have the rows
`drawings/`: one for each image, prompt and sampling seed, see `drawing_ranks.Ranking.table`. The means over a set are
its numbers in metrics.json.
"""
from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from dtbox.errors import InputError
from dtbox.files import replacing

LONGEST = 80
"""Characters of a key at most: longer captions end with a hash of the whole."""
AGAIN = 'Evaluate the run again: dtbox test RUN'


class SampleScores:
    """Numbers of single samples, kept while a metric streams: sample `i` is the i-th that the metric was shown.

    Attributes:
        seen: samples shown so far, measured or not.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def keep(self, name: str, values: Tensor, index: Tensor | None = None) -> None:
        """Keep one number for each sample of the batch that comes after `seen`, or for its samples `index` only.

        Args:
            name: of the score.
            values: tensor [M].
            index: int64 tensor [M], positions in the batch; None means all of it.
        """
        values = values.detach().cpu().double().numpy()
        index = np.arange(len(values)) if index is None else index.detach().cpu().numpy()
        self._parts.setdefault(name, []).append((self.seen + index, values))

    def pass_over(self, count: int) -> None:
        """Move on to the samples after a batch of `count`."""
        self.seen += count

    def add(self, other: SampleScores) -> None:
        """Append what another SampleScores kept."""
        for name, parts in other._parts.items():
            self._parts.setdefault(name, []).extend((self.seen + index, values) for index, values in parts)
        self.seen += other.seen

    def arrays(self) -> dict[str, np.ndarray]:
        """Return name -> float64 [seen], NaN where a sample has no such score."""
        arrays = {}
        for name, parts in self._parts.items():
            arrays[name] = np.full(self.seen, np.nan)
            for index, values in parts:
                arrays[name][index] = values
        return arrays


def join_sets(columns: Mapping[str, Sequence[Any]], keys: Mapping[str, Sequence[str | None]]) -> dict[str, np.ndarray]:
    """Put the scores of several sets together.

    Args:
        columns: set -> list of Metric, summed over ranks.
        keys: set -> key of each sample in the order that the metrics saw them; None for a sample without key.

    Returns:
        dict name -> array, as the file holds it (see the module).
    """
    known = {part: [f'sample {i}' if key is None else _shorten(key) for i, key in enumerate(names)]
             for part, names in keys.items()}
    scores = {part: {k: v for metric in columns[part] for k, v in metric.samples().items()} for part in keys}
    arrays = _rows('', known, scores)
    queries = {part: {k: v for metric in columns[part] for k, v in metric.queries().items()} for part in keys}
    for group in dict.fromkeys(name for part in queries.values() for name in part):
        members = {part: groups[group] for part, groups in queries.items() if group in groups}
        arrays.update(_rows(f'{group}/', {part: [_shorten(k) for k in names] for part, (names, _) in members.items()},
                            {part: values for part, (_, values) in members.items()}))
    return arrays


def _rows(prefix: str, keys: dict[str, list[str]], scores: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Rows of all sets, sorted by set and key: arrays `keys`, `sets` and each score."""
    pairs = [(part, key) for part in keys for key in keys[part]]
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    arrays = {f'{prefix}{name}': np.array([pairs[i][at] for i in order], dtype=np.str_)
              for name, at in (('keys', 1), ('sets', 0))}
    for name in dict.fromkeys(name for part in scores.values() for name in part):
        found = [part[name] for part in scores.values() if name in part]
        kind, absent = (np.str_, '') if found[0].dtype.kind == 'U' else (np.float64, np.nan)
        whole = [scores[part].get(name, np.full(len(keys[part]), absent)) for part in keys]
        arrays[f'{prefix}{name}'] = np.concatenate(whole).astype(kind)[order]
    return arrays


def _shorten(key: str) -> str:
    key = str(key).replace('\0', ' ')
    return key if len(key) <= LONGEST else f'{key[:LONGEST - 17]}#{hashlib.sha1(key.encode()).hexdigest()[:16]}'


def find_rows(name: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the prefix of the rows that an array belongs to: 't2i/' for 't2i/tokens', '' for one of the images."""
    group = f'{name.rpartition("/")[0]}/'
    return group if f'{group}keys' in arrays or f'{group}sets' in arrays else ''


def write_samples(samples: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write what `SetEvaluator.samples` returned, in one step; the folder is made."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **samples)  # type: ignore[arg-type]  # the stub reads them as `allow_pickle`


def read_samples(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a samples.npz.

    Raises:
        InputError: no such file, another file, or arrays that do not fit together.
    """
    if not os.path.isfile(path):
        raise InputError(f'there are no scores of single samples at {path}. {AGAIN}')
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as e:  # a bad byte makes numpy, zipfile and zlib raise anything
        raise InputError(f'{path} cannot be read ({type(e).__name__}: {e}). {AGAIN}') from e
    for name, values in arrays.items():
        group = find_rows(name, arrays)
        rows = arrays.get(f'{group}keys')
        if rows is None or f'{group}sets' not in arrays or values.shape != rows.shape or values.ndim != 1:
            raise InputError(f'{path}: `{name}` of the shape {list(values.shape)} does not go with the keys and sets '
                             f'of that file. {AGAIN}')
    return arrays
