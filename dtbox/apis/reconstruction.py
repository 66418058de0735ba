"""Reconstruct image files: images to look at, scores, and what the codes cost."""
from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from mmengine.logging import print_log

from dtbox.apis.building import read_tokenizer
from dtbox.arguments import allow_none, read_arguments, read_names, read_path, read_paths, refuse
from dtbox.counts import format_count
from dtbox.datasets.folder_listing import SUFFIXES
from dtbox.datasets.left_out import describe_suffixes, get_suffix
from dtbox.drawing.sheets import draw_pair, to_uint8
from dtbox.errors import InputError, at
from dtbox.evaluation.functional import psnr
from dtbox.evaluation.functional.image_quality import to_unit
from dtbox.files import find_unused_path


@dataclass(frozen=True)
class Reconstruction:
    """What became of one image file.

    Attributes:
        source: path of the image.
        path: the image that was written, '' where `error` says why not.
        psnr: in dB, of the image as the model saw it.
        codes: vocabulary -> (tokens, codes per token) that were encoded.
        latents: vocabulary -> (tokens, channels) of continuous ones.
        bits: of all these codes, a code of K taking log2 K; latents have none.
        pixels: of the image as the model saw it.
        error: the InputError that came up, or None.
    """
    source: str
    path: str = ''
    psnr: float = math.nan
    codes: Optional[Dict[str, Tuple[int, int]]] = None
    bits: float = 0.0
    pixels: int = 0
    error: Optional[InputError] = None
    latents: Optional[Dict[str, Tuple[int, int]]] = None

    def __str__(self):
        if self.error is not None:
            return self.error.message
        codes = ', '.join(f'{name} {format_count(tokens, "token")} of {format_count(depth, "code")}'
                          for name, (tokens, depth) in (self.codes or {}).items())
        bits = f'{codes}  {self.bits:,.0f} bits ({self.bits / self.pixels:.3f} a pixel)' if codes else ''
        latents = ', '.join(f'{name} {format_count(tokens, "token")} of {format_count(width, "channel")}, continuous'
                            for name, (tokens, width) in (self.latents or {}).items())
        return '  '.join(filter(None, (f'{self.source} -> {self.path}', f'PSNR {self.psnr:.2f} dB', bits, latents)))


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise refuse(value, 'a text')
    return value


@read_arguments(tokenizer=read_tokenizer, images=read_paths, out=read_path, vocabularies=allow_none(read_names),
                text=allow_none(_read_text))
def reconstruct_files(tokenizer: Any, images: Sequence[str], out: str,
                      vocabularies: Sequence[str] | None = None, text: str | None = None) -> Iterator[Reconstruction]:
    """Reconstruct image files and write input and reconstruction side by side as OUT/NAME.png.

    A name that is taken gets a number (NAME.1.png). Files that cannot be read are reported, and the rest goes on.

    Args:
        tokenizer: Tokenizer.
        images: paths of images and of folders; of a folder all images in it, at any depth.
        out: folder for the images; made where it does not exist.
        vocabularies: names of those to encode and to count; None takes those that the decoder reads. It needs at least
            these.
        text: of each image, where texts guide the decoder.

    Returns:
        iterator over a `Reconstruction` for each image, while it works.

    Raises:
        InputError: no decoder, a vocabulary that is missing or unknown, or a folder `out` that cannot be made.
    """
    model = tokenizer.model
    if model.decoder is None:
        raise InputError('this tokenizer has no decoder; it cannot reconstruct images.')
    with at('vocabularies'):
        names = model.check_streams(vocabularies or model.reads)
    missing = [name for name in model.check_streams(model.reads) if name not in names]
    if missing:
        raise InputError(f'the decoder reads {", ".join(model.reads)}; `vocabularies` leaves out '
                         f'{", ".join(missing)}. Add them.')
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as e:
        raise InputError(f'the folder {out} cannot be made ({e.strerror or e}). Choose another.') from e
    return (_one(tokenizer, path, error, out, names, text) for path, error in find_images(images))


def find_images(paths: Iterable[str]) -> Iterator[tuple[str, InputError | None]]:
    """Yield (path, None) for each image of `paths`, folders walked in sorted order; (folder, InputError) for a folder
    without any."""
    for path in map(os.fspath, paths):
        if not os.path.isdir(path):
            yield path, None
            continue
        notes, others = [], Counter()
        walk = os.walk(path, onerror=lambda e: notes.append(f'the folder {e.filename} is left out: {e.strerror}'))
        every = sorted(os.path.join(folder, file) for folder, _, files in walk for file in files)
        found = [file for file in every if file.lower().endswith(SUFFIXES)
                 and not os.path.basename(file).startswith('.')]
        others.update(get_suffix(os.path.basename(file)) for file in every if not file.lower().endswith(SUFFIXES))
        for note in (*notes, *describe_suffixes(others)):
            print_log(f'{path}: {note}', 'current', level=logging.WARNING)
        if not found:
            yield path, InputError(f'the folder {path} holds no images. Images are known by {", ".join(SUFFIXES)}.')
        for image in found:
            yield image, None


def _one(tokenizer, source, error, out, names, text):
    try:
        if error is not None:
            raise error
        images = tokenizer.prepare(source)
        codes = tokenizer.encode(images, names)
        made = tokenizer.decode(codes, texts=text)
        score = float(psnr(to_unit(images), to_unit(made)))
        path = find_unused_path(os.path.join(out, os.path.splitext(os.path.basename(source))[0] + '.png'))
        draw_pair(to_uint8(images)[0], to_uint8(made)[0], path, f'PSNR {score:.2f} dB')
    except InputError as e:
        return Reconstruction(source, error=e)
    except OSError as e:
        error = InputError(f'the image of {source} cannot be written to {out} ({e.strerror or e}). Check the folder.')
        return Reconstruction(source, error=error)
    streams = tokenizer.model.streams
    shapes, latents = ({name: tuple(value.shape[1:]) for name, value in codes.items()
                        if streams[name].layout.has_codes == coded} for coded in (True, False))
    bits = sum(streams[name].bits for name in shapes)
    return Reconstruction(source, path, score, shapes, bits, images.shape[2] * images.shape[3], latents=latents)
