"""The judge of drawings: frozen towers of images and texts that the language model has never seen."""
from __future__ import annotations

from typing import Mapping, Sequence

from dtbox.errors import InputError, at
from dtbox.evaluation.towers import Towers


def build_judge(cfg: Mapping | None, image_size: Sequence[int]) -> Towers | None:
    """Build the judge of dict(encoder=..., text=...); None for None."""
    if cfg is None:
        return None
    with at('judge'):
        if set(cfg) != {'encoder', 'text'}:
            raise InputError(f'got the keys {", ".join(sorted(cfg)) or "none"}; expected dict(encoder=..., text=...).')
        return Towers(**cfg, image_size=image_size)
