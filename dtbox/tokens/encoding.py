"""One input shard -> the rows of one file of tokens."""
from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from dtbox.errors import InputError
from dtbox.token_shards.format import STATUS_BROKEN
from dtbox.token_shards.reading import open_shard
from dtbox.token_shards.writing import Row, write_shard
from dtbox.tokens.encoder import Encoder
from dtbox.tokens.sources import Item, SourceShard
from dtbox.tokens.views import make_view

T = TypeVar('T')
S = TypeVar('S')
TOLD = 5
"""Broken images of an input shard that are told by name."""
AHEAD = 4
"""Batches that are decoded ahead of the model, and encoded ahead of the writer."""


@dataclass
class Outcome:
    """What became of an input shard.

    Attributes:
        name: of the input shard.
        images: images, broken ones included.
        rows: rows with codes.
        broken: number of images without codes.
        told: key and error of the first of these.
        repeated: keys that come more than once in the input shard.
    """
    name: str
    images: int = 0
    rows: int = 0
    broken: int = 0
    told: list[tuple[str, str]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


def encode_shard(encoder: Encoder, shard: SourceShard, out: str,
                 report: Callable[[int], None] = lambda images: None) -> Outcome:
    """Encode an input shard and write its file.

    Args:
        encoder: Encoder.
        shard: the input shard.
        out: folder of the files.
        report: called with the number of images that came since the last call: after each batch at the latest.

    Raises:
        InputError: the shard cannot be read, or nothing can be written to the folder.
        OSError: the disk is full.
    """
    outcome = Outcome(shard.name)
    rows = encode_items(encoder, shard.items(), outcome, report)
    if encoder.is_gpu:
        rows = run_ahead(rows, AHEAD * encoder.settings.batch)
    outcome.repeated = open_shard(write_shard(out, shard.name, rows, encoder.meta)).repeated
    return outcome


def encode_items(encoder: Encoder, items: Iterable[Item], outcome: Outcome,
                 report: Callable[[int], None] = lambda images: None,
                 find_place: Callable[[Row], int] | None = None) -> Iterator[Row]:
    """Yield the rows of items in their order, those of an image view by view.

    Args:
        encoder: Encoder.
        items: of an input shard.
        outcome: gets the counts.
        report: see `encode_shard`.
        find_place: returns the place of a row in its batch, for some images of a shard that are encoded again; None
            fills batches one after the other.
    """
    batches = Batches(encoder)
    since = 0
    for parts in map_ahead(lambda item: prepare_item(encoder, item), items, encoder.settings.decoders,
                           AHEAD * encoder.settings.batch):
        count(outcome, parts)
        since += 1
        for row, image in parts:
            place = find_place(row) if find_place and image is not None else None
            if image is not None and not batches.has_room(place):
                batches.start()
                yield from batches.finish(1 if encoder.is_gpu else 0)
            batches.add(row, image, place)
        if since >= encoder.settings.batch:
            report(since)
            since = 0
    batches.start()
    yield from batches.finish(0)
    report(since)


class Batches:
    """Rows that wait for their codes.

    Args:
        encoder: Encoder.

    Attributes:
        images: place in the batch -> image [3, H, W], of the batch that is filled.
        waiting: rows that came since the last batch was started, broken ones included.
        running: rows and codes of batches that were started.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.images: dict[int, Tensor] = {}
        self.waiting: list[Row] = []
        self.running: deque[tuple[list[Row], dict[str, Tensor] | None]] = deque()

    def has_room(self, place: int | None) -> bool:
        """Whether an image fits into the batch: anywhere for None, or at a place."""
        return len(self.images) < self.encoder.settings.batch and place not in self.images

    def add(self, row: Row, image: Tensor | None, place: int | None) -> None:
        """Add a row and its image; None for a broken one."""
        self.waiting.append(row)
        if image is not None:
            self.images[len(self.images) if place is None else place] = image

    def start(self) -> None:
        """Start the batch."""
        found = self.encoder.start(list(self.images.values()), list(self.images)) if self.images else None
        self.running.append((self.waiting, found))
        self.images, self.waiting = {}, []

    def finish(self, most: int) -> Iterator[Row]:
        """Yield the rows of all batches but the last `most`, with their codes."""
        while len(self.running) > most:
            rows, found = self.running.popleft()
            codes = iter(self.encoder.finish(found) if found else ())
            for row in rows:
                if row.status != STATUS_BROKEN:
                    row.codes, row.embedding = next(codes)
                yield row


def prepare_item(encoder: Encoder, item: Item) -> list[tuple[Row, Tensor | None]]:
    """Return the rows of an item without their codes, one a view, with what the model is to see, [3, H, W], or None."""
    found, rule = item.read(encoder.decode), encoder.settings.views
    common: dict[str, Any] = dict(key=item.key, index=item.index, image_hash=found.digest, texts=list(found.texts))
    if found.image is None:
        return [(Row(**common, view=number, status=STATUS_BROKEN, error=found.error), None)
                for number in range(rule.count)]
    common.update(width=found.image.width, height=found.image.height)
    rows: list[tuple[Row, Tensor | None]] = []
    for number in range(rule.count):
        view = make_view(found.image, number, found.digest, rule, encoder.tokenizer.image_size)
        shown = dict(common, view=number, crop=view.crop, flip=view.flip)
        try:
            rows.append((Row(**shown), encoder.transform(view)))
        except InputError as e:  # such as an image that is too long and thin
            rows.append((Row(**shown, status=STATUS_BROKEN, error=str(e)), None))
    return rows


def count(outcome: Outcome, parts: list[tuple[Row, Tensor | None]]) -> None:
    """Add the rows of an item to an outcome."""
    outcome.images += 1
    outcome.rows += sum(row.status != STATUS_BROKEN for row, _ in parts)
    flaw = next((row for row, _ in parts if row.status == STATUS_BROKEN), None)
    if flaw is not None:
        outcome.broken += 1
        if len(outcome.told) < TOLD:
            outcome.told.append((flaw.key, flaw.error or ''))


def map_ahead(function: Callable[[S], T], values: Iterable[S], threads: int, most: int) -> Iterator[T]:
    """Yield what a function returns for each value, in order.

    Args:
        function: that several threads may call at once.
        values: taken one after the other.
        threads: that call it ahead of what is asked for; 0 calls it when it is asked for.
        most: results that wait at the same time.
    """
    if not threads:
        yield from map(function, values)
        return
    with ThreadPoolExecutor(threads) as pool:
        results: deque = deque()
        try:
            for value in values:
                results.append(pool.submit(function, value))
                if len(results) >= most:
                    yield results.popleft().result()
            while results:
                yield results.popleft().result()
        finally:
            for result in results:
                result.cancel()


def run_ahead(values: Iterable[T], most: int) -> Iterator[T]:
    """Yield values that another thread takes ahead of what is asked for.

    Args:
        values: an error that they raise is raised here.
        most: values that wait at the same time.
    """
    ready: queue.Queue = queue.Queue(most)
    stopped = threading.Event()

    def put(entry: tuple) -> bool:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for value in values:
                if not put((value, None)):
                    return
            put((None, StopIteration()))
        except BaseException as e:
            put((None, e))
    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            value, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield value
    finally:
        stopped.set()
        thread.join()
