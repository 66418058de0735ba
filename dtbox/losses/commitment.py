"""The quantizers' own terms, handed on under the names of their vocabularies."""
from dtbox.losses.base import Loss, full
from dtbox.registry import LOSSES


@LOSSES.register_module()
class CommitmentLoss(Loss):
    """Commitment of the encoder to its codes (VQ-VAE, arXiv 1711.00937), one term per vocabulary: `commitment_pixel`, ...

    Args:
        vocabularies: names of those to take; None takes all whose quantizer has such a term (FSQ has none).
        kind: which of a quantizer's terms to hand on; the name in front of the vocabulary's.
    """

    def __init__(self, vocabularies=None, kind='commitment'):
        super().__init__()
        if isinstance(vocabularies, str):
            vocabularies = (vocabularies,)
        self.vocabularies = None if vocabularies is None else tuple(vocabularies)
        self.kind = kind
        if self.vocabularies is not None:
            self.names = tuple(f'{kind}_{v}' for v in self.vocabularies)
            self.requires = tuple(f'losses.{v}.{kind}' for v in self.vocabularies)

    def terms(self, outputs, batch):
        """See Loss."""
        if self.vocabularies is not None:
            return {name: self.read(outputs, path) for name, path in zip(self.names, self.requires)}
        return {f'{self.kind}_{v}': full(terms[self.kind]) for v, terms in outputs.losses.items() if self.kind in terms}
