"""What a folder of token shards lacks of a data set.

The names of the files say it all: the name of an input shard is a function of what it holds, that of a file a function
of the input shard and the fingerprint, and a whole footer is the mark of done. Nothing else is kept.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dtbox.counts import format_count
from dtbox.datasets.left_out import name_some
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import shard_name
from dtbox.token_shards.reading import is_done, list_shards, open_shard, read_meta
from dtbox.token_shards.writing import check_folder
from dtbox.tokens.sources import FileShard, Source, SourceShard
from dtbox.tokens.sources.base import hash_bytes
from dtbox.tokens.sources.files import FileList, read_file

LOOKS = 8
"""Images of a list whose files are compared with the hashes that are stored."""


@dataclass(frozen=True)
class Plan:
    """Input shards of a data set.

    Attributes:
        shards: all of them, in order.
        todo: those that are to be encoded by this start.
        done: number of those that are done already.
        elsewhere: number of those that are left to other tasks.
    """
    shards: Sequence[SourceShard]
    todo: Sequence[SourceShard]
    done: int
    elsewhere: int = 0


def make_plan(source: Source, out: str | os.PathLike, fingerprint: Fingerprint, append: bool = False,
              part: tuple[int, int] = (0, 1)) -> Plan:
    """Return what is to be done.

    Args:
        source: data set.
        out: folder of the files; it exists.
        fingerprint: of the tokenizer.
        append: the folder holds other input shards, too, which stay; images of a list that these hold are left out.
        part: (i, n): take every n-th input shard, from number i on.

    Raises:
        InputError: the folder is of another fingerprint, holds other input shards without `append`, or other images
            under the same keys.
    """
    check_folder(out, fingerprint)
    files = {path.name: path for path in list_shards(out)}
    encoded = find_encoded(source, files, fingerprint) if append else None
    shards = source.cut(encoded)
    names = {shard_name(shard.name, fingerprint): shard for shard in shards}
    if len(names) < len(shards):
        raise InputError('two input shards have the same name and content. Give each data set a folder of its own.')
    strangers = [path for name, path in files.items() if name not in names]
    if strangers and not append:
        raise InputError(f'{os.fspath(out)} holds {format_count(len(strangers), "shard")} of other data than SRC is '
                         f'now, such as {strangers[0].name}. --append adds what is new; if nothing is to stay of what '
                         'SRC was, give a new folder.', 'OUT')
    whole = {name for name, path in files.items() if name in names and is_done(path)}
    mine = [shard for number, (name, shard) in enumerate(names.items()) if number % part[1] == part[0]
            and name not in whole]
    _check_same_images(names, whole, files)
    return Plan(shards, mine, len(whole), len(shards) - len(whole) - len(mine))


def find_encoded(source: Source, files: dict[str, Path], fingerprint: Fingerprint) -> dict[str, set[str]]:
    """Return prefix of a list -> keys of images of it that are in files of an earlier state of the list."""
    if not source.lists:
        return {}
    by_name: dict[str, list[FileList]] = {}
    for files_of in source.lists:
        by_name.setdefault(files_of.name, []).append(files_of)
    known: dict[str, set[str]] = {}
    for path in files.values():
        held = is_done(path) and read_meta(path).source or ''
        prefix = held.rpartition('-')[0]
        for files_of in by_name.get(prefix.rpartition('-')[0], ()):
            if prefix != files_of.prefix:
                shard = open_shard(path, fingerprint)
                keys = shard.column('key').to_pylist()
                known.setdefault(files_of.prefix, set()).update(keys)
                wanted = dict(zip(keys, shard.column('image_hash').to_pylist()))
                _compare([entry for entry in files_of.entries if entry.key in wanted], wanted, path)
    return known


def _check_same_images(names: dict[str, SourceShard], whole: set[str], files: dict[str, Path]) -> None:
    """Compare some images of a list with what was encoded: lists are known by their keys alone."""
    name = next((name for name in names if name in whole and isinstance(names[name], FileShard)), None)
    if name is None:
        return
    shard, held = names[name], open_shard(files[name])
    assert isinstance(shard, FileShard)
    wanted = dict(zip(held.column('key').to_pylist(), held.column('image_hash').to_pylist()))
    _compare(shard.entries, wanted, files[name])


def _compare(entries: Sequence, wanted: dict[str, bytes | None], path: Path) -> None:
    step = max(1, len(entries) // LOOKS)
    other = []
    for entry in entries[::step]:
        try:
            digest = hash_bytes(read_file(entry.path))
        except InputError:
            continue
        if wanted.get(entry.key) not in (None, digest):
            other.append(entry.key)
    if other:
        raise InputError(f'{path} has other images under the same keys, such as {name_some(other)}: another data set '
                         'of the same names, or images that were replaced. --name gives this data set another name, '
                         'with --append in the same folder; or give a new folder.', 'OUT')
