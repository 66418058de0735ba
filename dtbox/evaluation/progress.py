"""How far an evaluation is: a progress bar on a terminal, otherwise a line now and then."""
from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from mmengine.logging import print_log
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.counts import format_count

EVERY = 10
"""Seconds between two lines."""


def show_progress(batches: DataLoader) -> Iterator:
    """Yield the batches of a data loader; rank 0 tells how many have been evaluated, where it takes longer than
    `EVERY` seconds or stderr is a terminal."""
    total = len(batches)
    if distributed.get_rank() != 0:
        yield from batches
    elif sys.stderr.isatty():
        from tqdm import tqdm
        yield from tqdm(batches, total=total, desc='evaluate', unit='batch', leave=False, ncols=100)
    else:
        begun = told = time.monotonic()
        for done, batch in enumerate(batches):
            now = time.monotonic()
            if done and now - told >= EVERY:
                told = now
                print_log(f'Evaluation: {done} of {format_count(total, "batch")}, '
                          f'{(now - begun) / done * (total - done):.0f} s left',
                          'current')
            yield batch
