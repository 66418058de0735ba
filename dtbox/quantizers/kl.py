"""The Gaussian bottleneck of a variational autoencoder (arXiv 1312.6114), as in latent diffusion (arXiv 2112.10752):
each token is a mean and a log variance of C channels, sampled in training, the mean in evaluation."""
from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.quantizers.continuous import ContinuousQuantizer
from dtbox.registry import QUANTIZERS


@QUANTIZERS.register_module()
class KL(ContinuousQuantizer):
    """Gaussian latents; features in are [B,N,2C]: C means, then C log variances.

    The term `kl` is 0.5 sum(mean^2 + exp(logvar) - 1 - logvar) in nats, summed over tokens and channels, a mean over
    images, as latent diffusion weights it (about 1e-6).

    Args:
        dim: width C of the latents.
        clamp: (lowest, highest) log variance; None does not clamp.
        noise, statistics: see `ContinuousQuantizer`.
    """
    example = dict(dim=4, statistics='channel')
    smooth = None  # type: ignore[assignment]  # a sample, whose gradient also reaches the log variance

    def __init__(self, dim: int, clamp: Sequence[float] | None = (-30.0, 20.0), noise: float = 0.0,
                 statistics: str | None = None) -> None:
        super().__init__(dim, noise, statistics)
        if clamp is not None and (not isinstance(clamp, (list, tuple)) or len(clamp) != 2
                                  or not all(type(v) in (int, float) for v in clamp) or not clamp[0] < clamp[1]):
            raise InputError(f'`clamp` is {clamp!r}; expected (lowest, highest) log variance, or None.', 'clamp')
        self.clamp = None if clamp is None else (float(clamp[0]), float(clamp[1]))

    @property
    def input_dim(self) -> int:
        """Width of the features that come in: a mean and a log variance for each channel."""
        return 2 * self.dim

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [B,N,2C] -> mean and log variance [B,N,C], the latter clamped."""
        mean, logvar = z.chunk(2, -1)
        return mean, logvar if self.clamp is None else logvar.clamp(*self.clamp)

    def mean(self, z: Tensor) -> Tensor:
        """z [B,N,2C] -> means [B,N,C]."""
        return z[..., :self.dim]

    def sample(self, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """z [B,N,2C] -> a sample [B,N,C] in training, the mean in evaluation; and the term `kl`."""
        mean, logvar = self.split(z)
        kl = measure_kl(mean, logvar).sum() / max(1, len(z))
        features = mean + (0.5 * logvar).exp() * torch.randn_like(mean) if self.training else mean
        return features, dict(kl=kl)


def measure_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return the divergence from the standard normal, in nats: mean and log variance [..., C] -> [...]."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(-1)
