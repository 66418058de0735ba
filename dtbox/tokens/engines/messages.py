"""What driver and workers tell each other, and what a worker does."""
from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Optional

from dtbox.errors import InputError, reason
from dtbox.files import is_disk_full
from dtbox.memory import keep_freed_memory
from dtbox.tokens.encoder import Encoder, Settings
from dtbox.tokens.encoding import Outcome, encode_shard
from dtbox.tokens.sources import SourceShard

BEGUN, READY = 'begun', 'ready'
IMAGES, DONE = 'images', 'done'
FAILED = 'failed'
REFUSED, STOP = 'refused', 'stop'
"""Kinds of messages: the process runs; the tokenizer is open; images are encoded; an input shard is done, or cannot be;
the worker cannot work, nor can any other; nothing more can be written."""


EVERY = 0.5
"""Seconds between two reports of images."""


@dataclass(frozen=True)
class Start:
    """What a worker needs to begin.

    Attributes:
        settings: Settings.
        out: folder of the files.
        digest: of the fingerprint that the driver found.
    """
    settings: Settings
    out: str
    digest: str


@dataclass(frozen=True)
class Message:
    """What a worker says.

    Attributes:
        kind: one of the kinds above.
        text: a sentence: why not.
        number: process id of `BEGUN`, images of `IMAGES` since the last one.
        outcome: of `DONE`.
    """
    kind: str
    text: str = ''
    number: int = 0
    outcome: Optional[Outcome] = None


class Reports:
    """Collects numbers of images for a while.

    Args:
        report: gets their sum.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        self.report, self.images = report, 0
        self.due = time.monotonic() + EVERY

    def add(self, images: int) -> None:
        """Add a number of images."""
        self.images += images
        if time.monotonic() >= self.due:
            self.flush()

    def flush(self) -> None:
        """Report what was collected."""
        if self.images:
            self.report(self.images)
        self.images, self.due = 0, time.monotonic() + EVERY


def open_encoder(start: Start) -> Encoder:
    """Return the encoder of a worker.

    Raises:
        InputError: the run cannot be opened, or is another one than that of the driver.
    """
    import pyarrow.parquet  # noqa: F401  now, rather than within the first shard
    from mmengine.logging import MMLogger
    if start.settings.device == 'cpu':
        keep_freed_memory()
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # what data sets leave out is said once, not by each worker
    encoder = Encoder(start.settings)
    if encoder.fingerprint.digest != start.digest:
        raise InputError(f'a worker has the fingerprint {encoder.fingerprint.digest}, the driver {start.digest}: '
                         f'{start.settings.run} has changed meanwhile, or the worker has another processor. Leave the '
                         'run as it is, and encode on machines of one kind.')
    return encoder


def begin(start: Start, keep: Callable[[Encoder], None]) -> Iterator[Message]:
    """Yield the messages of a worker that begins; `keep` gets its encoder."""
    yield Message(BEGUN, number=os.getpid())
    try:
        keep(open_encoder(start))
    except InputError as e:
        yield Message(REFUSED, str(e))
        return
    yield Message(READY)


def work(encoder: Encoder, shard: SourceShard, out: str, report: Callable[[int], None]) -> Message:
    """Encode an input shard; returns how it ended. Raises nothing.

    Args:
        encoder, shard, out: see `encode_shard`.
        report: called about every `EVERY` seconds with the number of images since the last time.
    """
    reports = Reports(report)
    try:
        outcome = encode_shard(encoder, shard, out, reports.add)
        reports.flush()
        return Message(DONE, outcome=outcome)
    except Exception as e:
        if is_disk_full(e):
            return Message(STOP, f'no space is left on the disk of {out}')
        if not os.path.isdir(out):
            return Message(STOP, f'the folder {out} is gone: something has removed it')
        if isinstance(e, InputError):
            return Message(FAILED, str(e))
        traceback.print_exc()
        return Message(FAILED, reason(e))
