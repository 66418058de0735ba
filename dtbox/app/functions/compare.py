"""The tab Side by side: several tokenizers on one image. They are ranked only where they saw the same pixels."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dtbox.app.functions.images import show_image
from dtbox.app.functions.reconstruct import Reconstructed, reconstruct
from dtbox.app.opened import Opened
from dtbox.counts import format_count
from dtbox.drawing.sheets import compute_difference
from dtbox.errors import InputError

FEWEST, MOST = 2, 6
HEAD = ('run', 'pixels', 'PSNR [dB]', 'SSIM', 'bits', 'bits per pixel', 'encoding [ms]', 'decoding [ms]', 'rank')


@dataclass(frozen=True)
class Compared:
    """Several runs on one image.

    Attributes:
        names: of the runs.
        made: their reconstructions.
        differences: uint8 [H,W,3] each, absolute, see `dtbox.drawing.sheets.compute_difference`.
        ranks: by PSNR, 1 for the best; None where the runs did not see the same pixels.
        note: a sentence on that.
    """
    names: Sequence[str]
    made: Sequence[Reconstructed]
    differences: Sequence[np.ndarray]
    ranks: Sequence[int] | None
    note: str

    @property
    def table(self) -> list[list[str]]:
        """A row a run, see `HEAD`."""
        rows = []
        for i, (name, one) in enumerate(zip(self.names, self.made)):
            height, width = one.image.shape[:2]
            rank = str(self.ranks[i]) if self.ranks is not None else 'not ranked'
            rows.append([name, f'{height} x {width}', *(value for _, value in one.table), rank])
        return rows


def compare(runs: Sequence[Opened], image: object) -> Compared:
    """Reconstruct an image by several runs.

    Args:
        runs: 2 to 6.
        image: PIL image, path or array.

    Raises:
        InputError: too few or too many runs, one without decoder.
    """
    if not FEWEST <= len(runs) <= MOST:
        raise InputError(f'{format_count(len(runs), "run", "was")} chosen; this tab compares '
                         f'{FEWEST} to {MOST}. Tick others, or start '
                         'the page with more: dtbox app RUN RUN.')
    shown = [show_image(opened, image) for opened in runs]
    made = [reconstruct(opened, one) for opened, one in zip(runs, shown)]
    differences = [compute_difference(one.image[None], one.made[None])[0] for one in made]
    first = shown[0].tensor.cpu()
    same = all(one.tensor.shape == first.shape and torch.equal(one.tensor.cpu(), first) for one in shown)
    names = [opened.name for opened in runs]
    if not same:
        sizes = ', '.join(f'{name} {one.image.shape[0]} x {one.image.shape[1]}' for name, one in zip(names, made))
        return Compared(names, made, differences, None,
                        f'Not ranked: the runs did not see the same pixels ({sizes}; each resizes and crops by its own '
                        'rule), so their scores are of different images.')
    ranks = [1 + sum(other.psnr > one.psnr for other in made) for one in made]
    bits = {one.bits for one in made}
    note = 'Ranked by PSNR: all runs saw the same pixels.'
    if len(bits) > 1:
        note += ' Their codes take different numbers of bits, which the rank does not weigh.'
    return Compared(names, made, differences, ranks, note)
