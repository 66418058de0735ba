"""Lookup-free quantization (LFQ, MAGVIT-v2, arXiv 2310.05737): the code of a token is the signs of its channels, one bit each.

Legend: B batch, N tokens, C code width (bits), M = B N samples.
"""
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, mean_square
from dtbox.registry import ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


def sample_entropy(logits):
    """Mean entropy of independent bits: log-odds [M, C] -> scalar, in nats; exact, since the entropies of the bits add up."""
    size = logits.abs()
    return (F.softplus(-size) + size * torch.sigmoid(-size)).sum() / max(1, len(logits))


def batch_entropy(logits, group):
    """Entropy of the codes' mean distribution over the batch, in nats.

    The mean of products over the bits is a product of two matrices: the probabilities of the first half of the bits [M, 2^(g/2)], and
    those of the second. So the joint distribution of g bits is exact without a table [M, 2^g].

    Args:
        logits: [M, C] log-odds of the bits.
        group: most bits g whose joint distribution is taken; more are cut into equal groups, whose entropies are added.
    """
    total = 0.0
    for part in logits.tensor_split(-(-logits.shape[1] // group), 1):
        first, second = (_probabilities(half) for half in part.tensor_split(2, 1))
        mean = first.t() @ second / max(1, len(logits))
        total = total - (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
    return total


def _probabilities(logits):
    """Log-odds of b bits [M, b] -> probabilities of their 2^b codes [M, 2^b]."""
    bits = torch.arange(logits.shape[1], device=logits.device)
    codes = torch.arange(2 ** logits.shape[1], device=logits.device)
    return (logits @ ((codes >> bits[:, None] & 1) - 0.5)).softmax(1)


@QUANTIZERS.register_module()
class LFQ(Quantizer):
    """Lookup-free quantizer (MAGVIT-v2, arXiv 2310.05737): the signs of the channels are the bits of the code.

    Args:
        dim: code width C, the number of bits; 2^C codes.
        commitment_weight: of the term `commitment` = mean (z - sign(z))^2.
        entropy_weight: of the term `entropy` of training (equation 5): entropy of a sample's code - diversity * entropy over the batch.
        diversity: see `entropy_weight`.
        temperature: of the soft code, a softmax of -|z - c|^2 / temperature over all codes c.
        group: most bits whose joint distribution over the batch is taken; more are cut into equal groups, whose entropies are added.
        estimator: config of the gradient estimator of the sign.
    """
    example = dict(dim=4)

    def __init__(self, dim, commitment_weight=0.25, entropy_weight=0.1, diversity=1.0, temperature=0.01, group=18,
                 estimator=dict(type='StraightThrough')):
        super().__init__()
        check_sizes(dim=dim, group=group)
        if dim > 62 or group > 24:
            raise InputError(f'`dim` is {dim} and `group` {group}; expected at most 62 bits, which an int64 can number, and at most 24 a group.')
        if not temperature > 0 or min(commitment_weight, entropy_weight, diversity) < 0:
            raise InputError(f'`temperature` is {temperature}, the weights are {commitment_weight}, {entropy_weight}, {diversity}; '
                             'expected a positive temperature and weights of at least 0.')
        self.dim, self.codebook_sizes = dim, [2 ** dim]
        self.commitment_weight, self.entropy_weight, self.diversity = commitment_weight, entropy_weight, diversity
        self.temperature, self.group = temperature, group
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.register_buffer('bits', 2 ** torch.arange(dim - 1, -1, -1), persistent=False)
        # a product with half of the powers of two numbers the signs; 24 channels at a time, which float32 adds up exactly
        place, part = torch.arange(dim - 1, -1, -1), torch.arange(-(-dim // 24))
        halves = torch.where(place[:, None] // 24 == part, 2.0 ** (place[:, None] % 24 - 1), 0.0)
        self.register_buffer('halves', halves, persistent=False)
        self.register_buffer('middle', halves.sum(0), persistent=False)
        self.register_buffer('shift', 24 * part, persistent=False)

    def forward(self, z):
        """z [B,N,C] -> QuantizerOutput; features -1 or 1; terms `commitment` and, in training, `entropy`, at their weights."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = z.float()
            signs = (values.detach() > 0) * 2.0 - 1.0
            codes = self._codes(signs)
            losses = dict(commitment=self.commitment_weight * mean_square(values - signs))
            if self.training and self.entropy_weight:
                losses['entropy'] = self.entropy_weight * self._entropy(values.flatten(0, 1))
            features = self.estimator(values, signs)
        return QuantizerOutput(features.to(z.dtype), codes, losses)

    def _codes(self, signs):
        """-1 or 1 [..., C] -> codes [..., 1]; the first channel is the highest bit."""
        parts = (signs @ self.halves.float() + self.middle.float()).long()
        return parts if parts.shape[-1] == 1 else (parts << self.shift).sum(-1, keepdim=True)

    def _entropy(self, values):
        """values [M, C] -> scalar."""
        logits = values * (4 / self.temperature)  # |z + 1|^2 - |z - 1|^2 = 4 z
        return sample_entropy(logits) - self.diversity * batch_entropy(logits, self.group)

    @torch.no_grad()
    def encode(self, z):
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self._codes((z.float() > 0) * 2.0 - 1.0)

    def decode(self, codes):
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return (codes & self.bits != 0) * 2.0 - 1.0
