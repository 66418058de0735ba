"""The quantizer contract: features to codes to features.

Legend: B batch, N tokens, C code width, Q codes per token, K codebook size.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import InputError, NotFinite
from dtbox.layers.recompute import in_backward  # noqa: F401  quantizers ask it before they collect
from dtbox.layout import TokenLayout, check_codes
from dtbox.structures import QuantizerOutput


class Quantizer(nn.Module):
    """Base class of quantizers.

    A subclass sets `dim` and `codebook_sizes` and implements `forward`, `encode` and `decode`. A training forward only
    collects; `commit()`, called once after the optimizer step, updates the codebook; `discard()` forgets what was
    collected (the step was skipped). Quantizers without state need neither.

    Attributes:
        dim: code width C.
        codebook_sizes: list of Q codebook sizes; empty where there are no codes: `encode` then gives latents [B,N,C]
            (float), `decode` takes them, and `QuantizerOutput.codes` is None (see `ContinuousQuantizer`).
        members: None; or dict name -> width of the parts of C, where the quantizer is made to be shared by vocabularies
            of these names.
        example: constructor arguments of a small instance, for the contract suite and the listing.
        needs_layout: the layout that features must have; None where tokens are coded each by itself, so that any number
            of them will do.
        nests: whether `MultiScaleRQ` can quantize its scales with it: one code a token, found from the token alone, and
            what it collects is collected by `collect`.
        collecting: whether a training forward calls `collect`; False where another quantizer does that for it.
        updates_in_forward: the named exception to the rule above: a training forward rewrites the codebook.
    """
    dim: int = 0
    codebook_sizes: list[int] = []
    members: dict[str, int] | None = None
    example: dict | None = None
    needs_layout: TokenLayout | None = None
    nests: bool = False
    collecting: bool = True
    updates_in_forward: bool = False

    @property
    def input_dim(self) -> int:
        """Width of the features that come in; C, but for a quantizer that reads more than it gives (KL)."""
        return self.dim

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,input_dim] -> QuantizerOutput."""
        raise NotImplementedError

    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,N,Q] int64; no gradient, no change of state."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B,N,Q] -> features [B,N,C], equal to `forward(z).features` of evaluation."""
        raise NotImplementedError

    def set_layout(self, layout: TokenLayout) -> TokenLayout:
        """Take the layout of the features, return that of the codes; called once, when the vocabulary is built.

        Most quantizers code every token by itself, so the two are the same. One that codes several scales checks that
        they end at the grid, keeps what it needs of `layout`, and returns `Scales`.

        Raises:
            InputError: features that lie otherwise than this quantizer needs.
        """
        return layout

    def searcher(self) -> Callable[[Tensor], Tensor]:
        """Return a function z [B,N,C] -> codes [B,N,Q], `encode` without its checks, for as long as nothing changes:
        what is prepared once serves several calls."""
        return self.encode

    def smooth(self, z: Tensor) -> Tensor:
        """The smooth map whose gradient the estimator hands on: z [B,N,C] -> [B,N,C]; identity where z itself is
        quantized.

        A subclass whose gradient is not a straight-through one sets `smooth = None`.
        """
        return z

    def init_weights(self) -> None:
        """Load what the config names (a codebook of another checkpoint); called once before training, never when a run
        is opened."""

    def collect(self, z: Tensor, codes: Tensor) -> None:
        """Keep what a training forward quantized, z [B,N,C] float32 to codes [B,N,Q], for the next `commit`; nothing
        where the quantizer has no statistics."""

    def commit(self) -> None:
        """Update the codebook from what was collected since the last call."""

    def discard(self) -> None:
        """Forget what was collected."""

    def check(self, z: Tensor) -> None:
        """Raise `InputError` unless z is a finite [B,N,input_dim]."""
        if z.ndim != 3 or z.shape[-1] != self.input_dim:
            raise InputError(f'{type(self).__name__} got features of shape {list(z.shape)}; expected [B, N, '
                             f'{self.input_dim}].')
        if torch.compiler.is_exporting():  # what follows looks at numbers, which an exported graph has not
            return
        # one cheap sum tells nearly always; only where it is not finite is every value looked at
        if not math.isfinite(z.detach().sum()) and not torch.isfinite(z).all():
            raise NotFinite(f'{type(self).__name__} got features with NaN or infinite values; no code is nearest to '
                            'them.')

    def check_codes(self, codes: Tensor) -> None:
        """Raise `InputError` unless `codes` are [..., Q] integers in the range of each codebook."""
        check_codes(codes, self.codebook_sizes)


def check_sizes(**values: int) -> None:
    """Raise `InputError` unless every value is a positive integer."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f'`{name}` is {value!r}; expected a positive integer.')


def mean_square(x: Tensor) -> Tensor:
    """Mean of squares of a tensor; 0 where it is empty."""
    return x.pow(2).sum() / max(1, x.numel())
