"""Lookup-free quantization (LFQ, MAGVIT-v2, arXiv 2310.05737, section 3.1): the code of a token is the signs of its
channels.

C channels are C bits and 2^C codes, without a table and without a search. An entropy term makes the choice of each
token sure and the choices of a batch diverse.

Deviations from the paper:
- The first channel is the highest bit, as in vector-quantize-pytorch (`LFQ`), whose codes, features and terms these
  are; equation 4 makes it the lowest, as `lowest_first` and Open-MAGVIT2 (arXiv 2409.04410) do.
- More than `group` bits (18) are cut into equal groups taken as independent, as BSQ (arXiv 2406.07548) does. This
  bounds memory at 2^group.
- Entropies are exact and without a clamp; see `binary.py`. Open-MAGVIT2 adds 1e-5 to the mean probabilities inside the
  logarithm, which `floor` does: of 2^18 codes, that is more than most have.

Legend: B batch, N tokens, C code width (bits), M = B N samples.
"""
from __future__ import annotations

from collections.abc import Sequence

from dtbox.errors import InputError
from dtbox.quantizers.binary import BinaryQuantizer, check_binary
from dtbox.registry import QUANTIZERS
from dtbox.values import Positive


@QUANTIZERS.register_module()
class LFQ(BinaryQuantizer):
    """Lookup-free quantizer (MAGVIT-v2, arXiv 2310.05737): the signs of the channels are the bits of the code.

    Args:
        dim: code width C, the number of bits; 2^C codes.
        commitment_weight: of the term `commitment` = mean (z - sign(z))^2.
        entropy_weight: of the term `entropy` of training (equation 5): entropy of a sample's code - diversity * entropy
            over the batch, in nats.
        diversity: see `entropy_weight`.
        temperature: of the soft code, a softmax of -|z - c|^2 / temperature over all codes c.
        group: most bits whose joint distribution over the batch is taken; more are cut into equal groups, whose
            entropies are added.
        estimator: config of the gradient estimator of the sign.
        floor: added to the mean probabilities of the batch inside the logarithm (Open-MAGVIT2: 1e-5).
        lowest_first: the first channel is the lowest bit of a code; otherwise the highest.
        parts: channels of each of several codes of a token, for a language model over large codebooks (Open-MAGVIT2: 9
            and 9 of 18); None makes one code of all. Features and terms are the same.
    """
    example = dict(dim=4)
    nests = True

    def __init__(self, dim: int, commitment_weight: float = 0.25, entropy_weight: float = 0.1, diversity: float = 1.0,
                 temperature: float = 0.01, group: int = 18, estimator: dict = dict(type='StraightThrough'),
                 floor: float = 0.0, lowest_first: bool = False, parts: Sequence[Positive] | None = None):
        check_binary(dim, group, temperature, (commitment_weight, entropy_weight, diversity, floor))
        if parts is not None and (not all(type(bits) is int and bits > 0 for bits in parts) or sum(parts) != dim):
            raise InputError(f'`parts` is {parts!r}; expected positive numbers of channels that sum to `dim` {dim}.',
                             'parts')
        super().__init__(dim, 1.0, commitment_weight, entropy_weight, diversity, temperature, group, estimator, floor,
                         lowest_first, parts)
