"""What the quantizers without codes share: noise in training, and statistics that normalise latents.

Latents are what a continuous stream has in the place of codes: `encode(z)` gives them, `decode(latents)` gives the
features that the decoder reads. Statistics of the training images make latents of mean 0 and variance 1 (a diffusion
model learns such); they change what `encode` gives, and `decode` undoes them: reconstructions do not depend on them.

Source: noise and statistics of RAE (arXiv 2510.11690).
Legend: B batch, N tokens, C width of the latents.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.arguments import describe, read_floats
from dtbox.counts import format_count
from dtbox.errors import InputError, NotFinite, at
from dtbox.layout import TokenLayout
from dtbox.quantizers.base import Quantizer, check_sizes
from dtbox.structures import QuantizerOutput

EPS = 1e-5
"""Added to the variance: latents = (features - mean) / sqrt(variance + EPS)."""
STATISTICS = (None, 'channel', 'position')


class ContinuousQuantizer(Quantizer):
    """Base class of quantizers without codes: `codebook_sizes` is empty, `QuantizerOutput.codes` None.

    A subclass implements `sample(z)`, and `mean(z)` where that is not z.

    Args:
        dim: width C of the latents.
        noise: in training, noise * U * N is added to the features, with U uniform in [0, 1] for each image and N
            standard normal for each value; 0 adds none.
        statistics: 'channel' keeps a mean and a variance for each channel [C], 'position' for each token and channel
            [N, C], None keeps none. They start at 0 and 1; `set_statistics` sets them, `Tokenizer.measure_latents`
            measures them.
    """
    latent_mean: Tensor
    latent_var: Tensor

    def __init__(self, dim: int, noise: float = 0.0, statistics: str | None = None) -> None:
        super().__init__()
        check_sizes(dim=dim)
        if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise < float('inf'):
            raise InputError(f'`noise` is {noise!r}; expected a number of at least 0.', 'noise')
        if statistics not in STATISTICS:
            raise InputError(f'`statistics` is {describe(statistics)}; expected \'channel\', \'position\' or None.',
                             'statistics')
        self.dim, self.codebook_sizes = dim, []
        self.noise, self.statistics = float(noise), statistics
        if statistics is not None:
            shape = (dim,) if statistics == 'channel' else (1, dim)
            self.register_buffer('latent_mean', torch.zeros(shape))
            self.register_buffer('latent_var', torch.ones(shape))

    def set_layout(self, layout: TokenLayout) -> TokenLayout:
        """See `Quantizer`; statistics of each position get a row for each token."""
        if self.statistics == 'position':
            self.latent_mean = self.latent_mean[:1].repeat(layout.tokens, 1)
            self.latent_var = self.latent_var[:1].repeat(layout.tokens, 1)
        return layout

    def mean(self, z: Tensor) -> Tensor:
        """z [B,N,input_dim] float32 -> features [B,N,C] of evaluation."""
        return z

    def sample(self, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """z [B,N,input_dim] float32 -> features [B,N,C] of training before noise, and name -> loss."""
        return self.mean(z), {}

    def forward(self, z: Tensor) -> QuantizerOutput:
        """z [B,N,input_dim] -> QuantizerOutput without codes; features do not depend on the statistics."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            features, losses = self.sample(z.float())
            if self.training and self.noise:
                level = torch.rand(len(z), 1, 1, device=z.device)
                features = features + self.noise * level * torch.randn_like(features)
        return QuantizerOutput(features.to(z.dtype), None, losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,input_dim] -> latents [B,N,C]: the features of evaluation, normalised by the statistics."""
        self.check(z)
        with torch.autocast(z.device.type, enabled=False):
            features = self.mean(z.float())
            if self.statistics is not None:
                self._check_tokens(z)
                features = (features - self.latent_mean.float()) / (self.latent_var.float() + EPS).sqrt()
        return features.to(z.dtype)

    def decode(self, codes: Tensor) -> Tensor:
        """Latents [B,N,C], here named as in every quantizer -> features [B,N,C]; the statistics are undone."""
        self.check_codes(codes)
        if self.statistics is None:
            return codes
        self._check_tokens(codes)
        with torch.autocast(codes.device.type, enabled=False):
            features = codes.float() * (self.latent_var.float() + EPS).sqrt() + self.latent_mean.float()
        return features.to(codes.dtype)

    def _check_tokens(self, values: Tensor) -> None:
        if self.statistics == 'position' and len(self.latent_mean) not in (1, values.shape[1]):
            raise InputError(f'{type(self).__name__} has statistics of '
                             f'{format_count(len(self.latent_mean), "token")}, the features have '
                             f'{values.shape[1]}. Take images of the size that they were measured at.')

    def check_codes(self, codes: Tensor) -> None:
        """Raise `InputError` unless latents are finite floats [B,N,C]."""
        if not isinstance(codes, Tensor) or not codes.is_floating_point() or codes.ndim != 3 \
                or codes.shape[-1] != self.dim:
            raise InputError(f'{type(self).__name__} has no codes; expected latents as `encode` gives them, floats '
                             f'[B, N, {self.dim}], got {describe(codes)}.')
        if not torch.compiler.is_exporting() and not torch.isfinite(codes).all():
            raise NotFinite(f'{type(self).__name__} got latents with NaN or infinite values.')

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Set what normalises the latents.

        Args:
            mean, variance: [C], or [N,C] where `statistics` is 'position'; not negative where a variance.

        Raises:
            InputError: a quantizer without statistics, another shape, values that are not finite or negative.
        """
        if self.statistics is None:
            raise InputError(f'{type(self).__name__} keeps no statistics of latents; build it with '
                             "statistics='channel' or 'position'.", 'statistics')
        for name, value, own in (('mean', mean, self.latent_mean), ('variance', variance, self.latent_var)):
            with at(name):
                value = read_floats(value)
            if value.shape != own.shape:
                raise InputError(f'the {name} of the latents has the shape {list(value.shape)}; expected '
                                 f'{list(own.shape)}.', name)
            if not torch.isfinite(value).all() or name == 'variance' and bool((value < 0).any()):
                raise InputError(f'the {name} of the latents has values that are not finite, or negative variances; '
                                 'measure it again.', name)
            own.copy_(value)
