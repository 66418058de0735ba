"""The tab Shards: a row of token shards, decoded, with where it comes from and whether its bytes are those written."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtbox.app.opened import Opened
from dtbox.checksums import hash_tensors
from dtbox.errors import InputError
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.found_sheet import decode_rows


@dataclass(frozen=True)
class ShardRow:
    """A row of token shards.

    Attributes:
        image: decoded from its codes, uint8 [H,W,3]; None where it has none.
        table: (what, value) as texts.
        codes: a row a token as texts: token, and the codes of each stream.
        note: a sentence on why there is no image, or ''.
    """
    image: np.ndarray | None
    table: list[list[str]]
    codes: list[list[str]]
    note: str = ''


def read_row(opened: Opened, catalog: Catalog, row: int) -> ShardRow:
    """Return a row; the catalog verifies its shard to the last byte before anything is read.

    Args:
        opened: run that the shards were encoded with.
        catalog: of the shards.
        row: from 0, over all shards.

    Raises:
        InputError: no such row, a shard that is damaged.
    """
    if not 0 <= row < catalog.rows:
        raise InputError(f'there is no row {row}; {catalog.folder} has rows 0 to {catalog.rows - 1:,}.')
    shard, _, local = next(catalog.find([row]))
    entry, = catalog.describe([row])
    table = [['row', f'{row:,} of {catalog.rows:,}'], ['key', entry.key], ['input shard', entry.source],
             ['place in it', str(entry.index)], ['view', str(entry.view)], ['captions', ' | '.join(entry.texts)],
             ['token shard', f'{shard.path.name}, row {int(local[0])}'], ['bytes', 'verified: those that were written'],
             ['fingerprint', catalog.meta.fingerprint.digest]]
    if not entry.ok:
        return ShardRow(None, table, [], 'This row is a broken image, without codes.')
    names = [stream.name for stream in catalog.meta.streams]
    codes = catalog.read_codes([row], names)
    tokens = max(value.shape[1] for value in codes.values())
    cells = [[str(token), *(' '.join(map(str, codes[name][0, token])) if token < codes[name].shape[1] else ''
                            for name in names)] for token in range(tokens)]
    note = check_run(opened, catalog)
    if note:
        return ShardRow(None, table, cells, note)
    try:
        return ShardRow(decode_rows(catalog, opened.tokenizer, [row])[0], table, cells)
    except InputError as e:
        return ShardRow(None, table, cells, e.message)


def check_run(opened: Opened, catalog: Catalog) -> str:
    """Return '' where a run made the codes of some shards, and else a sentence."""
    own = opened.keep('digest', lambda: hash_tensors(opened.tokenizer.model.state_dict()))
    if own == catalog.meta.fingerprint.weights:
        return ''
    return (f'These codes were not made by {opened.name} (weights {own}, the shards {catalog.meta.fingerprint.weights}'
            '): they mean other images. Choose the run that encoded them.')
