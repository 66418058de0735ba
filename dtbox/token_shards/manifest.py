"""MANIFEST.json: what lies in a folder of token shards, derived from the shards for people and other programs.

Nothing in dtbox reads it: what is there is what the shards say. It can be deleted and written again at any time.
"""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dtbox.errors import InputError
from dtbox.files import explain_writing, write_atomic
from dtbox.token_shards.format import FORMAT, STATUS_OK
from dtbox.token_shards.reading import TokenShard, list_shards

ABOUT = '.dtbox'
"""Folder, in one of token shards, of what is not a token shard: pandas, pyarrow, Spark and Hugging Face `datasets` pass
over names that begin with a dot."""
MANIFEST = f'{ABOUT}/MANIFEST.json'


def describe_folder(folder: str | os.PathLike) -> dict[str, Any]:
    """Return what MANIFEST.json says: fingerprints, streams, totals, and a line for each shard.

    Only footers are read. Shards whose footer is not whole are listed under `damaged`.

    Raises:
        InputError: a folder that cannot be read.
    """
    shards: list[dict[str, Any]] = []
    damaged: list[str] = []
    fingerprints: dict[str, Any] = {}
    streams: dict[str, Any] = {}
    for path in list_shards(folder):
        try:
            shard = TokenShard(path)
        except InputError:
            damaged.append(path.name)
            continue
        meta = shard.meta
        fingerprints[meta.fingerprint.digest] = meta.fingerprint.to_dict()
        streams[meta.fingerprint.digest] = [stream.to_dict() for stream in meta.streams]
        shards.append(dict(file=path.name, source=meta.source, rows=shard.rows, ok=shard.counts[STATUS_OK],
                           bytes=shard.size, seal=shard.seal))
    totals = {name: sum(shard[name] for shard in shards) for name in ('rows', 'ok', 'bytes')}
    return dict(format=FORMAT, fingerprints=fingerprints, streams=streams, files=len(shards), **totals, damaged=damaged,
                shards=shards)


def write_manifest(folder: str | os.PathLike) -> Path:
    """Write MANIFEST.json into a folder of token shards, in one step, and return its path.

    Raises:
        InputError: a folder that cannot be read or written to.
        OSError: the disk is full.
    """
    path = Path(folder) / MANIFEST
    description = describe_folder(folder)
    shards = description.pop('shards')
    lines = ',\n'.join(f'  {json.dumps(shard, sort_keys=True)}' for shard in shards)
    head = json.dumps(description, indent=1, sort_keys=True).removesuffix('\n}')
    with explain_writing(path):
        write_atomic(path, f'{head},\n "shards": [\n{lines}\n ]\n}}\n')
    return path
