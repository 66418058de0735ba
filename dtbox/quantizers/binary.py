"""What the quantizers of signs (LFQ, BSQ) share: a base class, sign codes, and the entropies of independent bits
without a table of all codes.

The entropies are exact without the distribution of every token over all codes. The bits of one token are independent,
so its entropy is a sum over bits. The batch's mean of products is one matrix product of the probabilities of the first
half of the bits and those of the second half, [M, 2^(g/2)] each. vector-quantize-pytorch makes tables [M, 2^C] instead
(4 GB each for 16,384 tokens and 16 bits), and clamps probabilities at 1e-5 inside the logarithm, which is more than
most of 100,000 codes have; here nothing is clamped (`floor` adds a constant there, as Open-MAGVIT2 does). The batch is
that of one rank: a collective inside the forward would hang ranks with different numbers of micro-batches. The package
averages over ranks.

Legend: B batch, N tokens, C code width (bits), M = B N samples, g bits of a group.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, mean_square
from dtbox.registry import ESTIMATORS
from dtbox.structures import QuantizerOutput

MOST_BITS = 62
"""An int64 can number this many bits."""
MOST_GROUP = 24
"""Most bits of a group: its joint distribution has 2^24 entries."""
EXACT_BITS = 24
"""Bits whose number float32 adds up exactly."""


class SignCodes(nn.Module):
    """Numbers the signs of C channels as one code, and reads them back. No state.

    Args:
        bits: number of channels C.
        lowest_first: the first channel is the lowest bit; otherwise the highest.
    """

    def __init__(self, bits: int, lowest_first: bool = False):
        super().__init__()
        place = torch.arange(bits) if lowest_first else torch.arange(bits - 1, -1, -1)
        self.register_buffer('bits', 2 ** place, persistent=False)
        # a product with half of the powers of two numbers the signs; float32 adds up 24 channels at a time exactly
        part = torch.arange(-(-bits // EXACT_BITS))
        halves = torch.where(place[:, None] // EXACT_BITS == part, 2.0 ** (place[:, None] % EXACT_BITS - 1), 0.0)
        self.register_buffer('halves', halves, persistent=False)
        self.register_buffer('middle', halves.sum(0), persistent=False)
        self.register_buffer('shift', EXACT_BITS * part, persistent=False)

    def encode(self, signs: Tensor) -> Tensor:
        """Number signs, -1.0 or 1.0 [..., C]: codes [..., 1] int64."""
        parts = (signs @ self.halves.float() + self.middle.float()).long()
        return parts if parts.shape[-1] == 1 else (parts << self.shift).sum(-1, keepdim=True)

    def decode(self, codes: Tensor) -> Tensor:
        """Read codes [..., 1]: signs, -1.0 or 1.0 [..., C]."""
        return (codes & self.bits != 0) * 2.0 - 1.0


class SplitSignCodes(nn.Module):
    """Numbers the signs of C channels as Q codes, each of neighbouring channels, and reads them back. No state.

    Args:
        parts: channels of each code; they sum to C.
        lowest_first: see `SignCodes`.
    """

    def __init__(self, parts: Sequence[int], lowest_first: bool = False):
        super().__init__()
        self.sizes = list(parts)
        self.codes = nn.ModuleList(SignCodes(bits, lowest_first) for bits in parts)

    def encode(self, signs: Tensor) -> Tensor:
        """Number signs, -1.0 or 1.0 [..., C]: codes [..., Q] int64."""
        return torch.cat([code.encode(part) for code, part in zip(self.codes, signs.split(self.sizes, -1))], -1)

    def decode(self, codes: Tensor) -> Tensor:
        """Read codes [..., Q]: signs, -1.0 or 1.0 [..., C]."""
        return torch.cat([code.decode(part) for code, part in zip(self.codes, codes.split(1, -1))], -1)


class BinaryQuantizer(Quantizer):
    """The signs of the channels are the bits of the code; the feature is the corner signs * `length`.

    Args:
        dim: code width C, the number of bits; 2^C codes.
        length: of a feature along each channel.
        commitment_weight: of the term `commitment` = mean (u - corner)^2, u = smooth(z).
        entropy_weight: of the term `entropy` of training: entropy of a sample's code - diversity * entropy over the
            batch, in nats.
        diversity: see `entropy_weight`.
        temperature: of the soft code, a softmax of -|u - c|^2 / temperature over all codes c.
        group: see `batch_entropy`.
        estimator: config of the gradient estimator of the sign.
        floor: see `batch_entropy`.
        lowest_first: the first channel is the lowest bit; otherwise the highest.
        parts: channels of each of several codes of a token; None makes one code of all.
    """

    def __init__(self, dim: int, length: float, commitment_weight: float, entropy_weight: float, diversity: float,
                 temperature: float, group: int, estimator: dict, floor: float = 0.0, lowest_first: bool = False,
                 parts: Sequence[int] | None = None):
        super().__init__()
        self.dim, self.codebook_sizes = dim, [2 ** bits for bits in parts or [dim]]
        self.length = length
        self.commitment_weight = commitment_weight
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature, self.group = temperature, group
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.floor = floor
        self.sign_codes = SplitSignCodes(parts, lowest_first) if parts else SignCodes(dim, lowest_first)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z [B,N,C]; terms `commitment` and, in training, `entropy`, at their weights."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = z.float()
            signs = signs_of(values.detach())
            codes, corner = self.sign_codes.encode(signs), signs * self.length
            values = self.smooth(values)
            losses = dict(commitment=self.commitment_weight * mean_square(values - corner))
            if self.training and self.entropy_weight:
                # |u + l|^2 - |u - l|^2 = 4 l u
                logits = values.flatten(0, 1) * (4 * self.length / self.temperature)
                losses['entropy'] = self.entropy_weight * entropy_term(logits, self.group, self.diversity,
                                                                           self.floor)
            features = self.estimator(values, corner)
        return QuantizerOutput(features.to(z.dtype), codes, losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self.sign_codes.encode(signs_of(z.float()))

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C]."""
        self.check_codes(codes)
        return self.sign_codes.decode(codes) * self.length


def signs_of(values: Tensor) -> Tensor:
    """Return -1.0 or 1.0 for each value; 0 counts as negative."""
    return (values > 0) * 2.0 - 1.0


def check_binary(dim: int, group: int, temperature: float, weights: tuple[float, ...], fewest: int = 1) -> None:
    """Raise `InputError` unless the arguments describe a binary quantizer.

    Args:
        dim: number of bits C.
        group: bits of a group.
        temperature: of the soft code.
        weights: weights of the terms, at least 0 each.
        fewest: least number of bits.
    """
    check_sizes(dim=dim, group=group)
    if not fewest <= dim <= MOST_BITS or group > MOST_GROUP:
        alone = ' (one channel alone has no direction to learn)' if fewest > 1 else ''
        raise InputError(f'`dim` is {dim} and `group` {group}; expected {fewest}{alone} to {MOST_BITS} bits, which an '
                         'int64 '
                         f'can number, and at most {MOST_GROUP} a group.')
    if not temperature > 0 or min(weights) < 0:
        raise InputError(f'`temperature` is {temperature}, the weights are {", ".join(map(str, weights))}; '
                         'expected a positive temperature and weights of at least 0.')


def entropy_term(logits: Tensor, group: int, diversity: float, floor: float = 0.0) -> Tensor:
    """Return entropy of a sample - `diversity` * entropy over the batch, in nats (MAGVIT-v2, arXiv 2310.05737, equation
    5).

    Args:
        logits: log-odds of the bits [M, C].
        group: see `batch_entropy`.
        diversity: weight of the entropy over the batch.
        floor: see `batch_entropy`.
    """
    return sample_entropy(logits) - diversity * batch_entropy(logits, group, floor)


def sample_entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy of independent bits, log-odds [M, C] -> scalar, in nats; exact: the entropies of bits add
    up."""
    size = logits.abs()
    return (F.softplus(-size) + size * torch.sigmoid(-size)).sum() / max(1, len(logits))


def batch_entropy(logits: Tensor, group: int, floor: float = 0.0) -> Tensor:
    """Return the entropy of the codes' mean distribution over the batch, in nats.

    The joint distribution of g bits is a product of two matrices: the probabilities of the first half of the bits
    [M, 2^(g/2)], and those of the second. So it is exact without a table [M, 2^g].

    Args:
        logits: log-odds of the bits [M, C].
        group: most bits g whose joint distribution is taken; more are cut into equal groups taken as independent, whose
            entropies are added.
        floor: added to the mean probabilities inside the logarithm; 0 takes the entropy itself.
    """
    total = 0.0
    for part in logits.tensor_split(-(-logits.shape[1] // group), 1):
        first, second = (_probabilities(half) for half in part.tensor_split(2, 1))
        mean = first.t() @ second / max(1, len(logits))
        total = total - (mean * (mean.clamp_min(torch.finfo(mean.dtype).tiny) + floor).log()).sum()
    return total


def _probabilities(logits: Tensor) -> Tensor:
    """Log-odds of b bits [M, b] -> probabilities of their 2^b codes [M, 2^b]."""
    bits = torch.arange(logits.shape[1], device=logits.device)
    codes = torch.arange(2 ** logits.shape[1], device=logits.device)
    return (logits @ ((codes >> bits[:, None] & 1) - 0.5)).softmax(1)
