"""Compares token shards with the data set that they were made of: which are there, and whether codes are those that the
tokenizer gives.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.token_shards.fingerprint import Fingerprint
from dtbox.token_shards.format import shard_name
from dtbox.token_shards.reading import TokenShard, list_shards, open_shard
from dtbox.token_shards.writing import Row
from dtbox.tokens.checking import FolderCheck
from dtbox.tokens.encoder import Encoder, Settings
from dtbox.tokens.encoding import Outcome, encode_items
from dtbox.tokens.plan import find_encoded
from dtbox.tokens.run import RECORD, read_record
from dtbox.tokens.sources import Source, SourceShard
from dtbox.tokens.views import ViewRule

SEED = 0
"""Of the choice of images that are encoded again."""


def list_input(check: FolderCheck, source: Source) -> list[SourceShard]:
    """Return the input shards of a data set, those of an earlier state of it included that the folder holds.

    Raises:
        InputError: a data set that is not the one of the folder.
    """
    if check.meta is None:
        return []
    try:
        files = {path.name: path for path in list_shards(check.folder)}
        return source.cut(find_encoded(source, files, check.meta.fingerprint))
    except InputError as e:
        if check.is_sound:
            raise
        check.notes.append(f'the source is compared when the files below are gone ({e.message})')
        return []


def check_input(check: FolderCheck, shards: Sequence[SourceShard]) -> None:
    """Compare a folder with all input shards of its data set: each has its file, with a row for each of its images."""
    if check.meta is None:
        return
    wanted = {shard_name(shard.name, check.meta.fingerprint): shard for shard in shards}
    wrong = {finding.file for finding in check.findings}
    for name, shard in wanted.items():
        if name not in check.images and name not in wrong:
            check.find(name, f'it is not there; its input shard is {shard.name}', delete=False)
        elif name in check.images:
            images = shard.count()
            if images != check.images[name]:
                check.find(name, f'it has {format_count(check.images[name], "image")}, and its input shard '
                                 f'{shard.name} has {images:,}')
    strangers = sorted(set(check.images) - set(wanted))
    if strangers:
        check.notes.append(f'{format_count(len(strangers), "shard", "is")} of other data than the source, such as '
                           f'{strangers[0]}')


def open_encoder(folder: str | os.PathLike, fingerprint: Fingerprint, run: str | None = None,
                 **changes: Any) -> Encoder:
    """Return the encoder that a folder was made with.

    Args:
        folder: of token shards.
        fingerprint: of the shards.
        run: what `dtbox.load` opens; None takes the run that the folder names.
        changes: other fields of `Settings` that are not as the folder says; None keeps those.

    Raises:
        InputError: no run, one that cannot be opened, or an encoder of another fingerprint.
    """
    record = read_record(os.fspath(folder))
    if run is None and not isinstance(record.get('run'), str):
        raise InputError(f'{folder} does not say which tokenizer made it (no {RECORD}). Name it with --run.', '--run')
    known = {field.name for field in fields(Settings)}
    values: dict[str, Any] = {name: _freeze(value) for name, value in record.items() if name in known}
    values.update({name: value for name, value in changes.items() if value is not None})
    values['run'] = run or values['run']
    if isinstance(values.get('views'), Mapping):
        values['views'] = ViewRule(**{name: _freeze(value) for name, value in values['views'].items()})
    encoder = Encoder(Settings(**values))
    if encoder.fingerprint != fingerprint:
        raise InputError(f'{encoder.settings.run} cannot encode the images of {folder} again: its fingerprint is '
                         f'another one ({encoder.fingerprint.explain(fingerprint)}). Take the tokenizer, the settings '
                         'and the kind of device that made the shards.', '--sample')
    return encoder


def _freeze(value: Any) -> Any:
    """Return a list of JSON as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value


def choose_sample(images: Mapping[str, int], sample: float) -> dict[str, set[int]]:
    """Choose images at random, the same ones each time: name of a shard -> indices in it.

    Args:
        images: name of a shard -> number of its images.
        sample: below 1: fraction of all images, at least one image; from 1 on: number of images.
    """
    ends = np.cumsum([0, *images.values()])
    total = int(ends[-1])
    count = min(total, int(sample) if sample >= 1 else max(1, round(sample * total)))
    chosen = np.sort(np.random.default_rng(SEED).choice(total, count, replace=False)) if total else np.empty(0, int)
    numbers = np.searchsorted(ends, chosen, side='right') - 1
    return {name: set((chosen[numbers == number] - ends[number]).tolist())
            for number, name in enumerate(images) if (numbers == number).any()}


def check_sample(check: FolderCheck, shards: Sequence[SourceShard], encoder: Encoder, sample: float) -> int:
    """Encode some images again and compare them with their rows; returns the number of images.

    Args:
        check: gets the findings.
        shards: all input shards.
        encoder: of the fingerprint of the folder.
        sample: see `choose_sample`.
    """
    sources = {shard_name(shard.name, encoder.fingerprint): shard for shard in shards}
    images = {name: count for name, count in check.images.items() if name in sources}
    compared = 0
    for name, indices in choose_sample(images, sample).items():
        source = sources[name]
        items = (item for item in source.items() if item.index in indices)
        shard = open_shard(check.folder / name)
        places = find_batch_places(shard, encoder.settings.batch)
        try:
            rows = list(encode_items(encoder, items, Outcome(source.name),
                                     find_place=lambda row: places.get((row.index, row.view), 0)))
        except InputError as e:
            check.notes.append(f'{source.name} cannot be read again: {e.message}')
            continue
        wrong = compare_rows(shard, rows)
        compared += len(indices)
        if wrong:
            key, what = wrong[0]
            check.find(name, f'{len(wrong)} of {format_count(len(rows), "row")} encoded again differ, {key!r} the '
                             f'first: {what}')
    return compared


def find_batch_places(shard: TokenShard, batch: int) -> dict[tuple[int, int], int]:
    """Return (index of the image, view) -> place in its batch of so many images, of the rows with codes."""
    index, view = (shard.column(name).to_numpy(zero_copy_only=False)[shard.ok] for name in ('index_in_shard', 'view'))
    return {pair: number % batch for number, pair in enumerate(zip(index.tolist(), view.tolist()))}


def compare_rows(shard: TokenShard, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return (key, what differs) of the rows that are not those of a shard, bit by bit."""
    index, view = (shard.column(name).to_numpy(zero_copy_only=False) for name in ('index_in_shard', 'view'))
    places = {place: row for row, place in enumerate(zip(index.tolist(), view.tolist()))}
    with_codes = np.cumsum(shard.ok) - 1
    stored = {stream.name: shard.codes(stream.name) for stream in shard.meta.streams}
    plain = ('key', 'image_hash', 'width', 'height', 'crop', 'flip', 'texts', 'status')
    columns = {name: shard.column(name) for name in plain}
    vectors = shard.column('embedding') if shard.meta.embedding else None
    wrong = []
    for row in rows:
        place = places.get((row.index, row.view))
        if place is None:
            wrong.append((row.key, 'it has no row'))
            continue
        now = dict(vars(row), crop=None if row.crop is None else list(row.crop), image_hash=row.image_hash or None,
                   width=row.width or None, height=row.height or None, texts=list(row.texts))
        what = [f'another `{name}`' for name in plain if columns[name][place].as_py() != now[name]]
        if row.codes is not None and shard.ok[place]:
            what += [f'other codes `{name}`' for name, codes in stored.items()
                     if not np.array_equal(codes[with_codes[place]], row.codes[name])]
            if vectors is not None and row.embedding is not None:
                kept = np.asarray(vectors[place].as_py(), np.float16)
                what += [] if np.array_equal(kept, row.embedding.astype(np.float16)) else ['another embedding']
        if what:
            wrong.append((row.key, ', '.join(what)))
    return wrong
