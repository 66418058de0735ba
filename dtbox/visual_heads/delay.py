"""MusicGen's delay pattern (arXiv 2306.05284): code d (from 0) of place p stands at step p + d.

One step of the language model gives one code of every depth, so that the depths need no transformer of their own: step
p + d has read code d - 1 of place p. Of Q depths an image takes N + Q - 1 steps; cells before a stream's first place
and after its last one are empty.
"""
from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from dtbox.code_tables import EMPTY
from dtbox.layout import delay_codes, undo_delay
from dtbox.registry import VISUAL_HEADS
from dtbox.visual_heads.cells import CellsHead


@VISUAL_HEADS.register_module()
class DelayHead(CellsHead):
    """One linear classifier for each stream and depth; each depth stands one step after the depth before it (arXiv
    2306.05284)."""

    def expand(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See VisualHead; S = N + Q - 1 of the largest Q."""
        most = max(self.depths.values())
        return {name: F.pad(delay_codes(codes[name], EMPTY), (0, 0, 0, most - depth), value=EMPTY)
                for name, depth in self.depths.items()}

    def collapse(self, steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See VisualHead."""
        return {name: undo_delay(steps[name][:, :self.tables.places + depth - 1])
                for name, depth in self.depths.items()}
