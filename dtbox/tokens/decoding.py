"""Token shards -> images: what `dtbox decode` runs.

Legend: B batch, N positions of an image, Q codes of a position.
"""
from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
from PIL import Image

from dtbox.apis.loading import load
from dtbox.checksums import hash_tensors
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.files import explain_writing, find_unused_path, replacing
from dtbox.token_shards.reading import TokenShard, open_folder
from dtbox.tokenizers.guidance import read_guiding_texts
from dtbox.tokens.run import RECORD, read_record

BATCH = 32
"""Images that are decoded at a time."""


@dataclass(frozen=True)
class Choice:
    """Which rows are decoded.

    Attributes:
        keys: pattern on the keys (shell style); None for all.
        view: number of the view; None for all.
        limit: images at most; None for all.
    """
    keys: Optional[str] = None
    view: Optional[int] = None
    limit: Optional[int] = None


def decode(folder: str, out: str, choice: Choice = Choice(), run: str | None = None, device: str = 'cpu',
           **how: Any) -> Iterator[str]:
    """Yield the paths of PNG files, one for each row with codes that is asked for, as they are written.

    Args:
        folder: of token shards.
        out: folder for the images; nothing in it is overwritten.
        choice: which rows.
        run: what `dtbox.load` opens; None takes the run that the folder was encoded with.
        device: torch device.
        how: more arguments of `dtbox.load`.

    Raises:
        InputError: no shards, another tokenizer than that of the shards, codes that its decoder does not read, no row
            that is asked for.
    """
    shards = open_folder(folder)
    tokenizer = open_tokenizer(folder, shards[0], run, device, how)
    written = 0
    for shard in shards:
        rows = find_rows(shard, choice)
        if choice.limit is not None:
            rows = rows[:choice.limit - written]
        for path in _decode_rows(tokenizer, shard, rows, out):
            written += 1
            yield path
        if written == choice.limit:
            return
    if not written:
        raise InputError(f'{folder} has no row with codes for these --keys and this --view.')


def open_tokenizer(folder: str, shard: TokenShard, run: str | None, device: str, how: dict[str, Any]) -> Any:
    """Return the `Tokenizer` whose codes a shard holds; arguments as in `decode`."""
    known = run or read_record(folder).get('run')
    if not isinstance(known, str):
        raise InputError(f'{folder} does not say which run it was encoded with: its file {RECORD} is missing or '
                         'damaged. Give the run: --run RUN.', '--run')
    if run is None and not known.startswith('dtbox://') and not os.path.exists(known):
        raise InputError(f'{folder} was encoded with {known}, which is not here. Give it: --run RUN.', '--run')
    if run is None:
        record = read_record(folder)
        how = {**how, 'checkpoint': how.get('checkpoint') or record.get('checkpoint'),
               'plugins': how.get('plugins') or record.get('plugins') or ()}
    opened = load(known, device=device, **how)
    tokenizer = getattr(opened, 'tokenizer', opened)
    weights = hash_tensors(tokenizer.model.state_dict())
    if weights != shard.meta.fingerprint.weights:
        raise InputError(f'{known} has the weights {weights}, but {folder} was encoded with '
                         f'{shard.meta.fingerprint.weights}: its codes mean other images. Give that run.', '--run')
    return tokenizer


def find_rows(shard: TokenShard, choice: Choice) -> np.ndarray:
    """Return numbers of rows among those with codes, [M] int64."""
    wanted = np.ones(int(shard.ok.sum()), dtype=bool)
    if choice.view is not None:
        wanted &= np.asarray(shard.column('view').to_numpy(zero_copy_only=False))[shard.ok] == choice.view
    if choice.keys is not None:
        keys = np.array(shard.column('key').to_pylist(), dtype=object)[shard.ok]
        wanted &= np.array([fnmatch.fnmatchcase(key, choice.keys) for key in keys], dtype=bool)
    return np.flatnonzero(wanted)


def _decode_rows(tokenizer: Any, shard: TokenShard, rows: np.ndarray, out: str) -> Iterator[str]:
    if not len(rows):
        return
    codes = {stream.name: shard.codes(stream.name) for stream in shard.meta.streams}
    keys = np.array(shard.column('key').to_pylist(), dtype=object)[shard.ok]
    views = np.asarray(shard.column('view').to_numpy(zero_copy_only=False))[shard.ok]
    captions = np.array([(texts or [''])[0] for texts in shard.column('texts').to_pylist()], dtype=object)[shard.ok]
    for first in range(0, len(rows), BATCH):
        some = rows[first:first + BATCH]
        batch = {name: torch.from_numpy(values[some].astype(np.int64)) for name, values in codes.items()}
        texts = read_guiding_texts(tokenizer.model, list(captions[some]), list(keys[some]))
        for row, pixels in zip(some, to_uint8(tokenizer.decode(batch, texts=texts))):
            path = find_unused_path(os.path.join(out, make_path(keys[row], int(views[row]))))
            with explain_writing(path), replacing(path) as temporary:
                Image.fromarray(pixels).save(temporary, 'PNG')
            yield path


def make_path(key: str, view: int = 0) -> str:
    """Return the file of a view of an image, relative to the folder of the images: its key with `.png`, its view before
    that unless it is the first one. It lies in the folder, whatever the key is."""
    parts = [re.sub(r'[\x00-\x1f]', '_', part) for part in key.split('/') if part not in ('', '.')]
    safe = ['__' if part == '..' else part for part in parts] or ['image']
    return os.path.join(*safe) + (f'.view{view}.png' if view else '.png')
