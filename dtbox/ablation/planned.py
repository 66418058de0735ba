"""A trial and what a start of its grid is to do with it."""
from __future__ import annotations

from dataclasses import dataclass

from dtbox.ablation.grid import Trial


@dataclass(frozen=True)
class Planned:
    """A trial and what is to be done with it.

    Attributes:
        trial: Trial.
        what: keep, restore, continue, redo or new (see GridFolder.state).
        record: of its last attempt, {} where there is none.
        hashes: dict part -> hash, as they are now.
    """
    trial: Trial
    what: str
    record: dict
    hashes: dict

    @property
    def outdated(self) -> bool:
        """Whether it had a result, which no longer counts."""
        return self.what == 'redo' and self.record.get('status') in ('done', 'diverged')
