"""The tab Search: the images nearest to an image or a text, by each stream of codes and by the embedding, side by side.

Legend: M images, N tokens, Q codes per token, C code width, E joint width.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtbox.apis.reconstruction import find_images
from dtbox.app.functions.images import Shown
from dtbox.app.opened import BATCH, COUNTED, Opened
from dtbox.counts import format_count
from dtbox.diagnostics.patches import choose_evenly
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.tokens.catalog import Catalog
from dtbox.tokens.found_sheet import decode_rows
from dtbox.tokens.search import embed_queries, find_nearest
from dtbox.tokens.spaces import EMBEDDING, RowSpace, choose_space, make_unit

MOST = 2000
"""Images of a folder that are read."""
Found = list[tuple[np.ndarray, str]]
"""Images uint8 [H,W,3] with a line each, nearest first."""


@dataclass(frozen=True)
class Gallery:
    """Images that are searched.

    Attributes:
        keys: names of the images [M].
        pixels: as the run sees them, uint8 [M,H,W,3].
        vectors: stream or 'embedding' -> unit vectors [M,N C] or [M,E].
        note: a sentence on images that were left out, or ''.
    """
    keys: Sequence[str]
    pixels: np.ndarray
    vectors: Mapping[str, np.ndarray]
    note: str = ''


def read_vectors(opened: Opened, tensor: Any, codes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Images [B,3,H,W] and their codes -> stream or 'embedding' -> unit vectors [B,D]; streams without codes are left
    out."""
    found = {name: RowSpace(opened.tokenizer, name).decode(codes[name].cpu().numpy()) for name in opened.coded}
    if opened.tokenizer.model.head is not None:
        found[EMBEDDING] = make_unit(opened.tokenizer.embed_image(tensor).float().cpu().numpy())
    return found


def make_gallery(opened: Opened, folder: str | None = None) -> Gallery:
    """Encode the images of a folder, or held-out images of the run.

    Args:
        opened: run.
        folder: with images at any depth; None takes the run's own.

    Raises:
        InputError: a folder without images, a run that names none.
    """
    keys: list[str] = []
    pixels: list[np.ndarray] = []
    vectors: list[dict[str, np.ndarray]] = []
    bad: list[str] = []
    for names, images in _read_batches(opened, folder, bad):
        tensor = opened.tokenizer.prepare(images)
        keys += names
        pixels.append(to_uint8(tensor))
        vectors.append(read_vectors(opened, tensor, opened.tokenizer.encode(tensor, opened.coded)))
    if not keys:
        raise InputError(f'there are no images to search in {folder or opened.name}'
                         f'{f": {bad[0]}" if bad else "."} Give a folder of images: --images DIR.')
    joined = {name: np.concatenate([part[name] for part in vectors]) for name in vectors[0]}
    note = f'{format_count(len(bad), "file")} could not be read, the first: {bad[0]}' if bad else ''
    return Gallery(keys, np.concatenate(pixels), joined, note)


def _read_batches(opened: Opened, folder: str | None, bad: list[str]) -> Iterator[tuple[list[str], list[Any]]]:
    names: list[str] = []
    images: list[Any] = []
    for key, image in _read_folder(folder, bad) if folder else _read_heldout(opened):
        names.append(key)
        images.append(image)
        if len(names) == BATCH:
            yield names, images
            names, images = [], []
    if names:
        yield names, images


def _read_folder(folder: str, bad: list[str]) -> Iterator[tuple[str, Any]]:
    from dtbox.app.functions.images import read_upload
    for number, (path, error) in enumerate(find_images([folder])):
        if number == MOST:
            return
        try:
            if error is not None:
                raise error
            yield path[len(folder):].lstrip('/'), read_upload(path)
        except (InputError, OSError) as e:
            bad.append(str(e))


def _read_heldout(opened: Opened) -> Iterator[tuple[str, Any]]:
    data = opened.dataset
    for i in choose_evenly(len(data), COUNTED):
        item = data[i]
        yield item.get('text') or str(item.get('key', i)), np.ascontiguousarray(item['image'].permute(1, 2, 0).numpy())


def search_image(opened: Opened, gallery: Gallery, shown: Shown, top: int = 6) -> dict[str, Found]:
    """Return stream or 'embedding' -> the images nearest to one, with their cosines."""
    queries = read_vectors(opened, shown.tensor, shown.codes)
    return {name: _pick(gallery, gallery.vectors[name] @ query[0], top) for name, query in queries.items()}


def search_text(opened: Opened, gallery: Gallery, text: str, top: int = 6) -> dict[str, Found]:
    """Return the images nearest to a text, by the embedding alone: codes are not compared with texts.

    Raises:
        InputError: an empty text, a run without head or text tower.
    """
    if not text.strip():
        raise InputError('the text is empty. Type what to look for.')
    for part, word in (('head', 'head'), ('text', 'text tower')):
        if getattr(opened.tokenizer.model, part) is None:
            raise InputError(f'{opened.name} has no {word}, so a text cannot be compared with images. Search by an '
                             'image, or take a run with a head and a text tower.')
    query = make_unit(opened.tokenizer.embed_text([text], truncate=True).float().cpu().numpy())
    return {EMBEDDING: _pick(gallery, gallery.vectors[EMBEDDING] @ query[0], top)}


def _pick(gallery: Gallery, cosines: np.ndarray, top: int) -> Found:
    order = np.argsort(-cosines, kind='stable')[:top]
    return [(gallery.pixels[i], f'{cosines[i]:.3f} {gallery.keys[i]}') for i in order]


def search_shards(opened: Opened, catalog: Catalog, shown: Shown | None = None, text: str = '',
                  top: int = 6) -> dict[str, Found]:
    """Return the images of token shards nearest to an image, by each stream and the embedding that the shards hold, or
    to a text.

    Args:
        opened: the run that the shards were encoded with.
        catalog: of the shards.
        shown: image; None takes the text.
        text: to search by, where there is no image.
        top: images a stream.
    """
    names = [EMBEDDING] if shown is None else [*(stream.name for stream in catalog.meta.streams),
                                               *([EMBEDDING] if catalog.meta.embedding else [])]
    found = {}
    for name in names:
        space = choose_space(catalog.meta, name, True, opened.tokenizer)
        queries = embed_queries(space, opened.tokenizer, None if shown is None else shown.tensor,
                                [text] if shown is None else None)
        rows, = find_nearest(catalog, space, queries, top)
        images = decode_rows(catalog, opened.tokenizer, rows.rows)
        keys = [entry.key for entry in catalog.describe(rows.rows)]
        found[name] = [(image, f'{value:.3f} {key}') for image, value, key in zip(images, rows.similarities, keys)]
    return found
