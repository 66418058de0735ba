"""Gradient estimators: how the gradient of a quantized feature reaches the feature it came from."""
from dtbox.registry import ESTIMATORS


@ESTIMATORS.register_module()
class StraightThrough:
    """Copy the gradient (Bengio et al., arXiv 1308.3432; VQ-VAE, arXiv 1711.00937): value q, dq/dz = identity."""

    def __call__(self, z, quantized):
        """z, quantized: tensors of one shape -> value of `quantized`, gradient to `z`."""
        return z + (quantized - z).detach()
