"""One index for several features (TokenFlow, arXiv 2412.03069): the code whose rows are nearest to all of them
together.

i* = argmin_i sum_m w_m |u_m - e_m,i|^2, where u_m is the L2-normalised feature of member m and e_m,i its row of code i,
normalised too. The weighted sum is one squared distance between the members' features side by side, each scaled by
sqrt(w_m), so that the exact search, the codebooks and their starts and restarts are those of plain vector quantization.

Deviations: one scale instead of TokenFlow's pyramid of them (MSVQ), and any codebook that the registry knows, EMA by
default.

Legend: B batch, N tokens, C code width (of all members together), M members, K codebook size.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.base import Quantizer, check_sizes, in_backward, mean_square
from dtbox.quantizers.search import make_search
from dtbox.registry import CODEBOOKS, ESTIMATORS, QUANTIZERS
from dtbox.structures import QuantizerOutput


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
    """
    example = dict(size=32, members=dict(semantic=4, pixel=3), weights=dict(pixel=0.5))

    def __init__(self, size: int, members: dict[str, int], weights: dict[str, float] | None = None,
                 codebook: dict = dict(type='EMACodebook'),
                 estimator: dict = dict(type='StraightThrough')) -> None:
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
        scale = [weights.get(name, 1.0) ** 0.5 for name, width in members.items() for _ in range(width)]
        self.register_buffer('scale', torch.tensor(scale), persistent=False)

    def smooth(self, z: Tensor) -> Tensor:
        """z [..., C] -> the direction of every member's part [..., C]."""
        return torch.cat([F.normalize(part, dim=-1) for part in z.split(self.widths, -1)], -1)

    def _search(self, values: Tensor) -> Tensor:
        """values [B,N,C], normalised -> codes [B,N]."""
        search = make_search(self.smooth(self.codebook.table().detach().float()) * self.scale)
        return search((values.detach() * self.scale).flatten(0, 1)).view(values.shape[:2])

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,C] -> QuantizerOutput; features of length 1 in every part; `commitment` = mean (u - sg(e))^2, and the
        codebook's terms."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            values = self.smooth(z.float())
            codes = self._search(values)
            if self.training and not in_backward():
                self.codebook.collect((values.detach() * self.scale)[None], codes[None])
            rows = self.smooth(self.codebook.lookup(codes))
            losses = dict(commitment=mean_square(values - rows.detach()), **self.codebook.losses(values, rows))
            features = self.estimator(values, rows.detach())
        return QuantizerOutput(features.to(z.dtype), codes[..., None], losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,1]."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            return self._search(self.smooth(z.float()))[..., None]

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
