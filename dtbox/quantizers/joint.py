"""One index for several features (TokenFlow, arXiv 2412.03069): the code whose rows are nearest to all of them
together.

i* = argmin_i sum_m w_m |u_m - e_m,i|^2, where u_m is the L2-normalised feature of member m and e_m,i its row of code i,
normalised too. The weighted sum is one squared distance between the members' features side by side, each scaled by
sqrt(w_m), so that the exact search, the codebooks and their starts and restarts are those of plain vector quantization.

One scale by itself; `ScaleWiseRQ` makes TokenFlow's pyramid of scales (MSVQ) of it. Deviation: any codebook that the
registry knows, EMA by default; TokenFlow's learns by gradient.

Legend: B batch, N tokens, C code width (of all members together), M members, K codebook size.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, in_backward, mean_square
from dtbox.quantizers.search import make_search
from dtbox.registry import CODEBOOKS, ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput
from dtbox.values import Factor, PositiveNumber

FLOOR = 1e-5
"""What TokenFlow adds to a mean probability before its logarithm is taken."""


@QUANTIZERS.register_module()
class JointVQ(Quantizer):
    """Vector quantizer of several features by one index, found by their joint distance (TokenFlow, arXiv 2412.03069).

    As a tokenizer's shared quantizer (`quantizers=dict(joint=dict(type='JointVQ', ...))`) its members are the
    vocabularies that name it.

    Args:
        size: codebook size K, the same for all members: they share the index.
        members: dict member -> width of its part of the features, at least 2 each; C is their sum, in this order.
        weights: dict member -> weight of its squared distance, positive; 1 for those left out.
        codebook: config of the table of all members' rows side by side and how it learns; size and dim are filled in.
        estimator: config of the gradient estimator.
        entropy_weight: of the term `entropy` of training: mean entropy of a token's softmax of -distance / temperature
            over all codes, less the entropy of its mean over the tokens, in nats. It holds the softmax of every token
            in memory; 0 leaves it out.
        temperature: of that softmax.
    """
    example = dict(size=32, members=dict(semantic=4, pixel=3), weights=dict(pixel=0.5))
    nests = True

    def __init__(self, size: int, members: dict[str, int], weights: dict[str, float] | None = None,
                 codebook: dict = dict(type='EMACodebook'),
                 estimator: dict = dict(type='StraightThrough'), entropy_weight: Factor = 0.0,
                 temperature: PositiveNumber = 0.01) -> None:
        super().__init__()
        if not isinstance(members, dict) or not members:
            raise InputError(f'`members` is {members!r}; expected a dict name -> width.', 'members')
        check_sizes(size=size, **{f'members.{name}': width for name, width in members.items()})
        if min(members.values()) < 2:
            raise InputError(f'`members` is {members}; expected at least 2 channels each, since one alone has no '
                             'direction to compare.', 'members')
        weights = dict(weights or {})
        wrong = [name for name, w in weights.items() if name not in members or isinstance(w, bool)
                 or not isinstance(w, (int, float)) or not w > 0]
        if wrong:
            raise InputError(f'`weights` is {weights}; expected a positive number for members, which are '
                             f'{", ".join(members)}.', 'weights')
        self.members, self.widths = dict(members), list(members.values())
        self.dim, self.codebook_sizes = sum(self.widths), [size]
        self.codebook = CODEBOOKS.build(codebook, where='codebook', size=size, dim=self.dim)
        if self.codebook.cosine:
            raise InputError('`cosine` would normalise the members\' rows together; JointVQ normalises each by itself. '
                             'Leave it off.', 'codebook')
        self.estimator = ESTIMATORS.build(estimator, where='estimator')
        self.entropy_weight, self.temperature = entropy_weight, temperature
        scale = [weights.get(name, 1.0) ** 0.5 for name, width in members.items() for _ in range(width)]
        self.register_buffer('scale', torch.tensor(scale), persistent=False)

    def smooth(self, z: Tensor) -> Tensor:
        """z [..., C] -> the direction of every member's part [..., C]."""
        return torch.cat([F.normalize(part, dim=-1) for part in z.split(self.widths, -1)], -1)

    def searcher(self) -> Callable[[Tensor], Tensor]:
        """See Quantizer."""
        find = make_search(self.smooth(self.codebook.table().detach().float()) * self.scale)
        return lambda z: find((self.smooth(z.float()) * self.scale).flatten(0, 1)).view(*z.shape[:2], 1)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput; features of length 1 in every part; `commitment` = mean (u - sg(e))^2, the
        codebook's terms and, where it has a weight, `entropy`."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values, codes = self.smooth(z.float()), self.searcher()(z.detach())
            if self.training and self.collecting and not in_backward():
                self.collect(z.float(), codes)
            rows = self.smooth(self.codebook.lookup(codes[..., 0]))
            losses = dict(commitment=mean_square(values - rows.detach()), **self.codebook.losses(values, rows))
            if self.training and self.entropy_weight:
                losses['entropy'] = self.entropy_weight * self._entropy(values.flatten(0, 1))
            features = self.estimator(values, rows.detach())
        return QuantizerOutput(features.to(z.dtype), codes, losses)

    def _entropy(self, values: Tensor) -> Tensor:
        """Directions [M, C] -> mean entropy of a token's soft code - entropy of the mean soft code, a scalar."""
        values, table = values * self.scale, self.smooth(self.codebook.table().float()) * self.scale
        distances = values.pow(2).sum(1, keepdim=True) + table.pow(2).sum(1) - 2 * values @ table.t()
        log_p = (-distances / self.temperature).log_softmax(1)
        p = log_p.exp()
        mean = p.sum(0) / max(1, len(p))
        return (mean * (mean + FLOOR).log()).sum() - (p * log_p).sum() / max(1, len(p))

    def collect(self, z: Tensor, codes: Tensor) -> None:
        """See Quantizer."""
        self.codebook.collect((self.smooth(z.detach()) * self.scale)[None], codes[..., 0][None])

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self.searcher()(z)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,1] -> features [B,N,C]."""
        self.check_codes(codes)
        return self.smooth(self.codebook.lookup(codes[..., 0]))

    def init_weights(self) -> None:
        """See Quantizer."""
        self.codebook.init_weights()

    def commit(self) -> None:
        """Update the codebook."""
        self.codebook.commit()

    def discard(self) -> None:
        """Forget what was collected."""
        self.codebook.discard()
