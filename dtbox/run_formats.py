"""The format of run folders and checkpoints, and who wrote one. `FORMAT` counts their layouts:

- 1 (dtbox 0.1): `pictures/` holds the images drawn during training; the folder says nothing of its format.
- 2 (dtbox 0.2): `run.json` says which version of dtbox wrote the folder, and in which format; `images/` in place of
  `pictures/`.
"""
from __future__ import annotations

from typing import NamedTuple

from dtbox import __version__
from dtbox.errors import InputError

FORMAT = 2
"""Format of the run folders and checkpoints that this version writes."""
OLDEST = 1
"""Oldest format that this version reads."""


class Origin(NamedTuple):
    """Who wrote a run folder or a checkpoint.

    Attributes:
        format: number of the format.
        version: version of dtbox, or '' where that is not known.
    """
    format: int
    version: str

    def tell_writer(self) -> str:
        """Return the version of dtbox in words."""
        return f'dtbox {self.version}' if self.version else 'an earlier version of dtbox'


def check_format(what: str, origin: Origin) -> None:
    """Raise `InputError` unless this version of dtbox reads a format.

    Args:
        what: was written, for the message.
        origin: by whom, in which format.
    """
    if origin.format > FORMAT:
        raise InputError(f'{what} was written by dtbox {origin.version or "of a later version"} in format '
                         f'{origin.format}; dtbox {__version__} reads formats {OLDEST} to {FORMAT}. Install dtbox '
                         f'{origin.version or "of that version"} or newer.')
    if origin.format < OLDEST:
        raise InputError(f'{what} was written by {origin.tell_writer()} in format {origin.format}; dtbox '
                         f'{__version__} reads formats {OLDEST} to {FORMAT}. Open it with {origin.tell_writer()}.')
