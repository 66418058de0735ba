"""How far encoding is: shards, images, images a second, and how long the rest will take."""
from __future__ import annotations

import time
from typing import Any

from dtbox.ablation.progress import format_clock
from dtbox.counts import format_count
from dtbox.tokens.encoding import Outcome

EVERY = 10.0
"""Seconds between two lines, where there is no terminal."""
TOLD = 10
"""Broken images, and keys of an input shard that repeat, that are told by name."""


class Progress:
    """Shows how far encoding is: a live line on a terminal, a line every ten seconds elsewhere.

    Args:
        total: input shards to encode.
        console: rich.console.Console; None writes to stdout.

    Attributes:
        outcomes: sums over the input shards that are done: `shards`, `images`, `rows`, `broken`.
    """

    def __init__(self, total: int, console: Any = None) -> None:
        from rich.console import Console
        self.total, self.console = total, console or Console(highlight=False)
        self.shards = self.rows = self.broken = self.encoded = self.failures = 0
        self.images_done = self.told = self.pending = 0
        self.begun = self.shown = time.monotonic()
        self.opened = False
        self.ended: float | None = None
        self.live: Any = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            from rich.live import Live
            self.live = Live(get_renderable=self.line, console=self.console, refresh_per_second=1, transient=True)
            self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended = time.monotonic()
        if self.live:
            self.live.__exit__(*error)

    def begin(self) -> None:
        """Note that a worker has opened the tokenizer; the clock starts with the first one."""
        if not self.opened:
            self.opened, self.begun = True, time.monotonic()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def images(self, number: int) -> None:
        """Note images of shards that are not done yet."""
        self.pending += number
        self._show()

    def done(self, outcome: Outcome) -> None:
        """Note an input shard that is done."""
        self.shards += 1
        self.images_done += outcome.images
        self.rows += outcome.rows
        self.broken += outcome.broken
        for key, why in outcome.told:
            self.told += 1
            if self.told <= TOLD:
                self.say(f'broken: {key} in {outcome.name}: {why}')
        if outcome.repeated:
            named = ', '.join(map(repr, outcome.repeated[:TOLD])) + (', ...' if len(outcome.repeated) > TOLD else '')
            self.say(f'repeated: {format_count(len(outcome.repeated), "key", "comes")} more than once in '
                     f'{outcome.name}, the rows are kept apart by their places: {named}')
        self._show()

    def failed(self, name: str, why: str) -> None:
        """Note an input shard that is given up."""
        self.failures += 1
        self.say(f'failed: {name}: {why}')

    def _show(self) -> None:
        now = time.monotonic()
        if not self.live and now - self.shown >= EVERY:
            self.shown = now
            self.say(self.line())

    def rate(self) -> float:
        """Return the images a second since the first worker was ready, until all were done."""
        seconds = (self.ended or time.monotonic()) - self.begun
        return (self.pending if self.ended is None else self.images_done) / seconds if seconds > 0 else 0.0

    def line(self) -> str:
        """Return how far it is, one line."""
        ended = self.shards + self.failures
        parts = [f'{ended:,} of {format_count(self.total, "shard")}',
                 format_count(self.pending, 'image'), f'{self.rate():,.1f} images/s']
        if ended and ended < self.total:
            seconds = time.monotonic() - self.begun
            parts.append(f'{format_clock(seconds / ended * (self.total - ended))} left')
        return ', '.join(parts)
