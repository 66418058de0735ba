"""What hooks and the rehearsal ask of a task, and the default answers of a task that has nothing of the kind."""
from __future__ import annotations

from typing import Any, Iterator, Sequence

from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from dtbox.errors import InputError
from dtbox.structures import Batch


class Answers:
    """Part of `Task`, which every task derives from."""

    @property
    def quantizers(self) -> dict[str, nn.Module]:
        """Name -> quantizer whose codes and codebooks are watched."""
        return {}

    @property
    def discriminator_terms(self) -> Sequence[str]:
        """Names of a discriminator's logged terms: loss, mean logits of images and of reconstructions."""
        return ()

    def make_gradient_probe(self) -> Any:
        """Return the GradientProbe that `dtbox.hooks.gradient_meter` measures, or None."""
        return None

    @property
    def reconstructs(self) -> bool:
        """Whether `reconstruct` returns images."""
        return False

    def reconstruct(self, batch: Batch) -> Tensor:
        """Return reconstructions [B,3,H,W] of the images of a prepared Batch, not clamped."""
        raise InputError(f'{type(self).__name__} does not reconstruct images.')

    # ---- the rehearsal (see `dtbox.training.rehearsal`) -----------------------------------------------------------

    @property
    def all_modules(self) -> Iterator[nn.Module]:
        """Every module of this task, also those that no state dict holds."""
        return self.modules()  # type: ignore[attr-defined]

    def rehearse(self, data: Batch, optimizers: OptimWrapperDict) -> None:
        """Run one iteration before the run; the caller takes its traces in modules away, other ones are avoided."""
        try:
            self.step(data, optimizers)  # type: ignore[attr-defined]
        finally:
            self.discard()  # type: ignore[attr-defined]
