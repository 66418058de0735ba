"""No quantization: features pass as they are. The upper bound of what a vocabulary of the same width can carry, and
the latents of RAE (arXiv 2510.11690), whose decoder reads features of a frozen encoder."""
from dtbox.quantizers.continuous import ContinuousQuantizer
from dtbox.registry import QUANTIZERS


@QUANTIZERS.register_module()
class NoQuantizer(ContinuousQuantizer):
    """Features pass as they are; arguments as of `ContinuousQuantizer`."""
    example = dict(dim=8, noise=0.2, statistics='channel')
