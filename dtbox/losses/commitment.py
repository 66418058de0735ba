"""The quantizers' own terms, handed on under the names of their vocabularies."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dtbox.losses.base import Loss, need, widen
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput


@LOSSES.register_module()
class CommitmentLoss(Loss):
    """Commitment of the encoder to its codes (VQ-VAE, arXiv 1711.00937), one term per vocabulary: `commitment_pixel`,
    ...

    Args:
        vocabularies: names of those to take; None takes all whose quantizer has such a term (FSQ has none).
        kind: which of a quantizer's terms to hand on; the name in front of the vocabulary's.
    """

    def __init__(self, vocabularies: str | Sequence[str] | None = None, kind: str = 'commitment'):
        super().__init__()
        if isinstance(vocabularies, str):
            vocabularies = (vocabularies,)
        self.vocabularies = None if vocabularies is None else tuple(vocabularies)
        self.kind = kind
        self.requires = ('losses',)
        if self.vocabularies is not None:
            self.names = tuple(f'{kind}_{v}' for v in self.vocabularies)
            self.requires = tuple(f'losses.{v}.{kind}' for v in self.vocabularies)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        if self.vocabularies is not None:
            return {f'{self.kind}_{v}': self.read(outputs, f'losses.{v}.{self.kind}') for v in self.vocabularies}
        return {f'{self.kind}_{v}': widen(terms[self.kind]) for v, terms in outputs.losses.items()
                if self.kind in terms}


@LOSSES.register_module()
class QuantizerLoss(Loss):
    """Every term that the quantizers report, at the weights that they give them among themselves: `commitment_pixel`,
    `codebook_pixel`, ...

    What a recipe takes when its quantizer is to be swapped: a quantizer with an entropy term brings it along.

    Args:
        vocabularies: names of those to take; None takes all.
    """

    def __init__(self, vocabularies: str | Sequence[str] | None = None):
        super().__init__()
        self.vocabularies = (vocabularies,) if isinstance(vocabularies, str) else vocabularies
        self.requires = ('losses',) if self.vocabularies is None else tuple(f'losses.{v}' for v in self.vocabularies)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        names = outputs.losses if self.vocabularies is None else self.vocabularies
        return {f'{kind}_{v}': widen(value) for v in names
                for kind, value in need(outputs, f'losses.{v}', 'QuantizerLoss').items()}
