"""Token shards in the layouts of other tools: flat files of ids for datatrove and nanotron, WebDataset tars.

One file of the target for each shard, written whole or not at all, with the same bytes each time.

- `bin`, as datatrove's DocumentTokenizer writes and DatatroveFolderDataset and nanotron's Nanoset read it: NAME.ds, the
  ids of all documents without a gap, uint16 up to 65,536 ids, else uint32; NAME.ds.index, where each document ends, in
  ids, uint64; NAME.ds.metadata, three lines: tokenizer|bytes of an id, number of ids, the same in words. All are
  little-endian. Source: https://github.com/huggingface/datatrove (pipeline/tokens/tokenizer.py, utils/dataset.py).
  A document is a view of an image: its flat ids (`CodeLayout.flat_ids`). NAME.ds.keys.jsonl says which.
- `webdataset` (https://github.com/webdataset/webdataset): NAME.tar with INDEX_VIEW.STREAM.npy, codes [N,Q], for each
  stream, INDEX_VIEW.json, all else that the row says, and INDEX_VIEW.txt, the first text, where there is one.

Legend: M rows, N positions of an image, Q codes of a position (depths), L ids of an image.
"""
from __future__ import annotations

import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dtbox.arguments import describe
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.files import explain_writing, parse_json, replacing, write_atomic
from dtbox.layout import CodeLayout, CodeOrder
from dtbox.token_shards.format import SUFFIX, ShardMeta
from dtbox.token_shards.reading import TokenShard, list_shards, open_shard

DESCRIPTION = 'layout.json'
ENDINGS = {'bin': ('.ds', '.ds.index', '.ds.metadata', '.ds.keys.jsonl'), 'webdataset': ('.tar',)}
"""Target -> endings of the files of a shard."""
PLAIN = ('key', 'source_shard', 'index_in_shard', 'width', 'height', 'crop', 'flip', 'view', 'texts')
"""Columns that a .json member holds as they are."""
ROWS = 1024
"""Rows whose ids are computed at a time."""


@dataclass(frozen=True)
class IdLayout:
    """How an exported document is made of codes.

    Attributes:
        layout: of the codes.
        order: in which the codes of an image follow one another.
        end: whether the id `layout.flat_size` ends each document.
    """
    layout: CodeLayout
    order: CodeOrder
    end: bool

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.layout.flat_size + self.end

    @property
    def dtype(self) -> np.dtype:
        """Type of the ids in the file."""
        if self.vocab_size > 2 ** 32:
            raise InputError(f'the codebooks have {self.vocab_size:.3g} ids together, and a flat file holds at most '
                             '2^32. Export with --to webdataset.', '--to')
        return np.dtype('<u2' if self.vocab_size <= 2 ** 16 else '<u4')

    def make_ids(self, codes: dict[str, np.ndarray]) -> np.ndarray:
        """Stream -> codes [M, N, Q] -> ids [M, L]."""
        ids = self.layout.flat_ids({name: torch.from_numpy(value.astype(np.int64)) for name, value in codes.items()},
                                   self.order).numpy()
        if self.end:
            ids = np.concatenate([ids, np.full((len(ids), 1), self.layout.flat_size)], 1)
        return ids.astype(self.dtype)

    def to_dict(self, meta: ShardMeta) -> dict[str, Any]:
        """Return what a reader of the files has to know."""
        return dict(dtype=self.dtype.name, vocab_size=self.vocab_size, end=self.layout.flat_size if self.end else None,
                    length=self.layout.count_ids() + self.end, order=self.order.to_dict(), offsets=self.layout.offsets,
                    layout=meta.layout)


def export_tokens(folder: str | os.PathLike, target: str, out: str | os.PathLike, order: str = 'stream',
                  end: bool = False, shuffle: int | None = None, say: Callable[[str], None] = print) -> dict[str, int]:
    """Write the token shards of a folder in another layout. Broken images are left out.

    Args:
        folder: of `dtbox encode`.
        target: 'bin' or 'webdataset'.
        out: folder for the files; an export of the same shards and settings that is there is completed.
        order: of the ids, as `CodeOrder.by` (`bin`).
        end: let an id of its own, the last one, end each document (`bin`).
        shuffle: seed of the order of the images within a file; None keeps that of the shard.
        say: called with lines of text.

    Returns:
        dict of `shards`, `images` (views), `left_out`, and `ids` where there are some.

    Raises:
        InputError: no shards, damaged ones, an `out` that holds something else.
        OSError: the disk is full.
    """
    if target not in ENDINGS:
        raise InputError(f'the target is {describe(target)}; expected one of {", ".join(ENDINGS)}.', '--to')
    paths = list_shards(folder)
    if not paths:
        raise InputError(f'{folder} holds no token shards; expected *.parquet files of `dtbox encode`.')
    first = open_shard(paths[0]).meta
    ids = IdLayout(CodeLayout.from_dict(first.layout), CodeOrder(by=order), end) if target == 'bin' else None
    stems = [path.name.removesuffix(SUFFIX) for path in paths]
    described = dict(format=f'dtbox {target} 1', fingerprint=first.fingerprint.to_dict(),
                     digest=first.fingerprint.digest, shuffle=shuffle, **(ids.to_dict(first) if ids else {}))
    with explain_writing(out):
        _take_folder(Path(out), described, {stem + ending for stem in stems for ending in ENDINGS[target]})
        counts = dict(shards=len(paths), images=0, left_out=0, **(dict(ids=0) if ids else {}))
        for path, stem in zip(paths, stems):
            shard = open_shard(path, first.fingerprint)
            rows = np.flatnonzero(shard.ok)
            if shuffle is not None:
                rows = np.random.default_rng((shuffle, zlib.crc32(stem.encode()))).permutation(rows)
            if ids:
                counts['ids'] += write_flat(Path(out) / f'{stem}.ds', shard, rows, ids)
            else:
                write_tar(Path(out) / f'{stem}.tar', shard, rows)
            counts['images'] += len(rows)
            counts['left_out'] += shard.rows - len(rows)
            say(f'{stem}: {format_count(len(rows), "image")}')
    return counts


def _take_folder(out: Path, described: dict[str, Any], names: set[str]) -> None:
    """Make the folder and write its description; `InputError` where it holds something else."""
    os.makedirs(out, exist_ok=True)
    there = sorted(name for name in os.listdir(out) if not name.startswith('.'))
    path = out / DESCRIPTION
    if path.is_file():
        try:
            same = parse_json(path.read_bytes()) == json.loads(json.dumps(described))
        except ValueError:
            same = False
        if not same:
            raise InputError(f'{out} holds an export of other shards or other settings, as its {DESCRIPTION} says. '
                             'Give another folder.', '--out')
    elif there:
        raise InputError(f'{out} is not empty: it holds {there[0]}. Give a new folder.', '--out')
    others = [name for name in there if name not in names and name != DESCRIPTION]
    if others:
        raise InputError(f'{out} holds {others[0]}, which belongs to no shard. Give a new folder.', '--out')
    write_atomic(path, json.dumps(described, indent=1))


def read_codes(shard: TokenShard) -> dict[str, np.ndarray]:
    """Return stream -> codes [rows, N, Q] of all rows of a shard, zeros for broken ones."""
    found = {}
    for stream in shard.meta.streams:
        found[stream.name] = np.zeros((shard.rows, stream.positions, stream.depth), stream.dtype)
        found[stream.name][shard.ok] = shard.codes(stream.name)
    return found


def write_flat(path: Path, shard: TokenShard, rows: np.ndarray, ids: IdLayout) -> int:
    """Write the files of a shard for datatrove and nanotron; return the number of ids.

    Args:
        path: of the .ds file.
        shard: opened.
        rows: int [M], in the order in which they are written.
        ids: how ids are made.
    """
    codes, length = read_codes(shard), ids.layout.count_ids() + ids.end
    with replacing(path) as temporary, open(temporary, 'wb') as file:
        for first in range(0, len(rows), ROWS):
            part = rows[first:first + ROWS]
            file.write(ids.make_ids({name: value[part] for name, value in codes.items()}).tobytes())
    with replacing(f'{path}.index') as temporary:
        np.arange(length, length * len(rows) + 1, length, dtype='<u8').tofile(temporary)
    keys, views = (shard.column(name).to_pylist() for name in ('key', 'view'))
    write_atomic(f'{path}.keys.jsonl',
                 ''.join(f'{json.dumps(dict(key=keys[row], view=views[row]), ensure_ascii=False)}\n' for row in rows))
    total = length * len(rows)
    name = f'dtbox:{shard.meta.fingerprint.digest}|{ids.dtype.itemsize}'
    write_atomic(f'{path}.metadata', '\n'.join([name, str(total), format_metric(total)]))
    return total


def format_metric(count: int) -> str:
    """Return a number of ids with three digits and a prefix, such as '1.05 MT', as datatrove's metadata has it."""
    value, prefixes = float(count), iter('kMGTP')
    prefix = ''
    while value >= 999.5:
        value, prefix = value / 1000, next(prefixes)
    digits = max(0, 3 - len(str(int(value)))) if value >= 1 else 2
    return f'{value:.{digits}f} {prefix}T'


def write_tar(path: Path, shard: TokenShard, rows: np.ndarray) -> None:
    """Write a shard as a tar file of WebDataset; arguments as of `write_flat`."""
    codes = read_codes(shard)
    columns = {name: shard.column(name).to_pylist() for name in (*PLAIN, 'image_hash')}
    with replacing(path) as temporary, tarfile.open(temporary, 'w', format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            for name, content in _make_members(row, codes, columns):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _make_members(row: int, codes: dict[str, np.ndarray], columns: dict[str, list]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the members of a row."""
    stem = f'{columns["index_in_shard"][row]:09d}_{columns["view"][row]}'
    for name, value in codes.items():
        file = io.BytesIO()
        np.save(file, value[row], allow_pickle=False)
        yield f'{stem}.{name.lower()}.npy', file.getvalue()
    hashed = columns['image_hash'][row]
    plain = dict({name: columns[name][row] for name in PLAIN}, image_hash=hashed.hex() if hashed else None)
    yield f'{stem}.json', json.dumps(plain, ensure_ascii=False).encode()
    if plain['texts']:
        yield f'{stem}.txt', plain['texts'][0].encode()
