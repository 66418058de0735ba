"""The tab Reconstruct: an image beside what its codes give back, from some depths, scales and streams."""
from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from dtbox.app.functions.images import Shown
from dtbox.app.functions.partial import count_steps, decode_part, need_decoder
from dtbox.app.opened import Opened
from dtbox.drawing.sheets import to_uint8
from dtbox.evaluation.functional import psnr, ssim, to_unit


@dataclass(frozen=True)
class Reconstructed:
    """A reconstruction.

    Attributes:
        image, made: uint8 [H,W,3], what the run saw and what it gave back.
        psnr: in dB; infinite for equal images.
        ssim: see `dtbox.evaluation.functional.ssim`.
        bits: of the codes that were read, a code of K taking log2 K; NaN where a stream that is read is continuous.
        bits_per_pixel: of the image as the run saw it.
        encode, decode: seconds.
    """
    image: np.ndarray
    made: np.ndarray
    psnr: float
    ssim: float
    bits: float
    bits_per_pixel: float
    encode: float
    decode: float

    @property
    def table(self) -> list[list[str]]:
        """(what, value) as texts."""
        bits = 'continuous' if math.isnan(self.bits) else f'{self.bits:,.0f}'
        rate = 'continuous' if math.isnan(self.bits) else f'{self.bits_per_pixel:.3f}'
        return [['PSNR [dB]', f'{self.psnr:.2f}'], ['SSIM', f'{self.ssim:.4f}'], ['bits', bits],
                ['bits per pixel', rate], ['encoding [ms]', f'{self.encode * 1e3:.0f}'],
                ['decoding [ms]', f'{self.decode * 1e3:.0f}']]


def count_bits(opened: Opened, cut: Mapping[str, int | None], off: Collection[str] = ()) -> float:
    """Return the bits of the codes that the decoder reads; NaN where one of these streams is continuous."""
    model, kinds = opened.tokenizer.model, count_steps(opened)
    total = 0.0
    for name in model.check_streams(model.reads):
        layout = model.streams[name].layout
        if name in off:
            continue
        if not layout.has_codes:
            return math.nan
        kept = cut.get(name)
        if kept is None:
            total += layout.bits
        elif kinds.get(name, ('',))[0] == 'scales':
            tokens = sum(part.stop - part.start for part in layout.token_layout.slices[:kept])
            total += tokens * sum(map(math.log2, layout.sizes))
        else:
            total += layout.tokens * sum(map(math.log2, layout.sizes[:kept]))
    return total


def reconstruct(opened: Opened, shown: Shown, cut: Mapping[str, int | None] | None = None,
                off: Collection[str] = ()) -> Reconstructed:
    """Reconstruct an image.

    Args:
        opened: run.
        shown: the image.
        cut: stream -> how many of its depths, or scales, are read; those left out are read whole.
        off: streams that are not read.

    Raises:
        InputError: a run without decoder.
    """
    need_decoder(opened)
    start = time.perf_counter()
    made = decode_part(opened, shown.codes, cut, off)
    seconds = time.perf_counter() - start
    bits = count_bits(opened, cut or {}, off)
    pixels = shown.tensor.shape[2] * shown.tensor.shape[3]
    pair = to_unit(shown.tensor), to_unit(made)
    return Reconstructed(shown.pixels, to_uint8(made)[0], float(psnr(*pair)), float(ssim(*pair)), bits, bits / pixels,
                         shown.seconds, seconds)


def describe_streams(opened: Opened) -> list[list[str]]:
    """Return a row a stream as texts: name, where its tokens lie, codebooks, bits, whether the decoder reads it."""
    model = opened.tokenizer.model
    read = model.check_streams(model.reads) if model.reads else []
    rows = []
    for name, stream in model.streams.items():
        layout = stream.layout
        books = ' + '.join(f'{size:,}' for size in layout.sizes) or 'continuous'
        bits = f'{layout.bits:,.0f}' if layout.has_codes else ''
        rows.append([name, str(layout.token_layout), books, bits, 'yes' if name in read else 'no'])
    return rows
