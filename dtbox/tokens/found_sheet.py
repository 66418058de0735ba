"""What a search has found as a table, a CSV file, and a contact sheet of images decoded from their codes."""
from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dtbox.counts import format_count
from dtbox.drawing.rows import Tile, draw_rows
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError, at
from dtbox.files import replacing
from dtbox.markup import escape_csv
from dtbox.tokenizers.guidance import read_guiding_texts
from dtbox.tokens.catalog import Catalog, Entry

if TYPE_CHECKING:
    from dtbox.apis.tokenizer import Tokenizer

HEAD = ('group', 'similarity', 'key', 'source_shard', 'index_in_shard', 'view', 'texts')
TEXT = 40
"""Characters of a caption in the table on the screen."""
BLOCK = 64
"""Images that are decoded at once."""
WIDEST = 12
"""Images of a row of the sheet."""

Groups = Mapping[str, Sequence[tuple[int, float]]]
"""Name of a query or of a group of duplicates -> its rows over all shards, with their similarities."""


def describe_groups(catalog: Catalog, groups: Groups) -> dict[str, list[tuple[Entry, float]]]:
    """Return name -> entries of the rows of its group, with their similarities."""
    rows = [row for group in groups.values() for row, _ in group]
    entries = iter(catalog.describe(rows))
    return {name: [(next(entries), value) for _, value in group] for name, group in groups.items()}


def make_table(described: Mapping[str, Sequence[tuple[Entry, float]]], whole: bool = False) -> list[list[str]]:
    """Return groups as a list of lists of texts, the head first.

    Args:
        described: of `describe_groups`.
        whole: with all captions in full, for files.
    """
    lines = [list(HEAD)]
    for name, group in described.items():
        for entry, value in group:
            texts = ' | '.join(entry.texts) if whole else ' '.join(' '.join(entry.texts[:1]).split())
            if not whole and len(texts) > TEXT:
                texts = f'{texts[:TEXT - 1]}…'
            lines.append([name, f'{value:.4f}', entry.key, entry.source, str(entry.index), str(entry.view), texts])
    return lines


def write_csv(path: str | os.PathLike, lines: Sequence[Sequence[str]]) -> None:
    """Write a table as a CSV file in one step."""
    with replacing(path) as temporary, open(temporary, 'w', encoding='utf-8', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([[escape_csv(cell) for cell in line] for line in lines])


def check_decoder(tokenizer: Tokenizer) -> None:
    """Raise `InputError` where a tokenizer cannot draw a sheet: no decoder, or one that texts guide and no text
    tower."""
    if tokenizer.model.decoder is None:
        raise InputError('this tokenizer has no decoder, so there are no images to draw. Leave --out out, and use the '
                         'table.', '--out')
    if tokenizer.model.guided and tokenizer.model.text is None:
        raise InputError('texts guide the decoder, and this tokenizer has no text tower that reads those of the '
                         'images. Leave --out out, and use the table.', '--out')


def needs_text(tokenizer: Tokenizer) -> bool:
    """Return whether an image without a text cannot be decoded."""
    return tokenizer.model.guided and tokenizer.model.decoder.guidance.default is None


def decode_rows(catalog: Catalog, tokenizer: Tokenizer, rows: Sequence[int]) -> np.ndarray:
    """Return the images that the tokenizer decodes from the codes of some rows, uint8 [len(rows), H, W, 3]; where texts
    guide the decoder, by the first text of each row.

    Raises:
        InputError: a tokenizer that cannot, rows without codes, or without a text that is needed.
    """
    check_decoder(tokenizer)
    streams = tokenizer.model.check_streams(tokenizer.model.reads)
    blocks = [np.zeros((0, *tokenizer.image_size, 3), np.uint8)]
    for start in range(0, len(rows), BLOCK):
        some = rows[start:start + BLOCK]
        codes = {name: value.astype(np.int64) for name, value in catalog.read_codes(some, streams).items()}
        texts = None
        if tokenizer.model.guided:
            entries = catalog.describe(some)
            texts = read_guiding_texts(tokenizer.model, [(entry.texts or ('',))[0] for entry in entries],
                                       [entry.key for entry in entries])
        blocks.append(to_uint8(tokenizer.decode(codes, texts=texts)))
    return np.concatenate(blocks)


def draw_found(path: str, catalog: Catalog, tokenizer: Tokenizer, described: Mapping, title: str,
               queries: np.ndarray | None = None) -> None:
    """Draw a sheet with a row for each query or group of duplicates, of at most `WIDEST` images; those without codes
    are left out, and those without a text where the decoder needs one, which the sheet says.

    Args:
        path: PNG to write or replace.
        catalog, tokenizer: that the images are decoded with.
        described: of `describe_groups`.
        title: line at the top.
        queries: images in front of the rows, uint8 [A, H, W, 3]; None for none.
    """
    coded = {name: [one for one in group if one[0].ok] for name, group in described.items()}
    told = {name: [one for one in group if ''.join(one[0].texts[:1]).strip() or not needs_text(tokenizer)]
            for name, group in coded.items()}
    without = sum(len(group) - len(told[name]) for name, group in coded.items())
    shown = {name: group[:WIDEST] for name, group in told.items()}
    with at('--out'):
        images = iter(decode_rows(catalog, tokenizer, [entry.row for group in shown.values() for entry, _ in group]))
    rows = []
    for number, (name, group) in enumerate(shown.items()):
        first = [] if queries is None else [[Tile(queries[number], name)]]
        rows.append([*first, [Tile(next(images), f'{value:.3f} {entry.key}') for entry, value in group]])
    widest = max((len(group) for group in shown.values()), default=1)
    columns = [*([] if queries is None else [('query', 1)]), ('images decoded from their codes', max(1, widest))]
    note = 'Below each image: similarity and key.'
    if without:
        note += (f' {format_count(without, "image", "is")} left out: texts guide the decoder, and there is none of '
                 f'{"it" if without == 1 else "them"}.')
    draw_rows(columns, rows, path, title, note)
