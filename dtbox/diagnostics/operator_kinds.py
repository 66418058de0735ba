"""Which kind of work an operator of PyTorch is, by its name, and how many operations it takes."""
from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

KINDS = (
    ('attention', ('scaled_dot_product', 'flash_attention', 'efficient_attention', 'fused_sdp')),
    ('convolutions', ('convolution', 'conv1d', 'conv2d', 'conv3d', 'conv_transpose')),
    ('matrix products', ('::mm', '::addmm', '::bmm', '::baddbmm', '::matmul', '::linear', '::addmv', '::mv', '::dot',
                         '::_mm', '::einsum', '::mkldnn_linear', '::mkl_linear', '::_int_mm', '::_scaled_mm')),
    ('norms', ('layer_norm', 'group_norm', 'batch_norm', 'rms_norm')),
    ('optimizer', ('_fused_', '_foreach_', 'optimizer')),
    ('memory: copies, fills, gathers', (
        '::copy_', '::_to_copy', '::cat', '::clone', '::contiguous', '::stack', '::fill_', '::zero_', '::index',
        '::gather', '::embedding', '::scatter', '::masked', 'memcpy', 'memset', '::empty', '::resize_', '::sort',
        '::unique', '::_index_put', '::constant_pad', '::bincount')),
    ('resizing and pooling', ('upsample', 'interpolate', '_pool', 'pooling')))
OTHERS = 'elementwise, sums and softmax'


def find_kind(name: str) -> str:
    """Return the kind of an operator such as `aten::addmm`."""
    lower = name.lower()
    for kind, marks in KINDS:
        if any(mark in lower for mark in marks):
            return kind
    return OTHERS


class OperatorFlops(TorchDispatchMode):
    """Adds up the operations of products, convolutions and attention by PyTorch's formulas, a multiply-add counts as
    two.

    `torch.utils.flop_counter.FlopCounterMode` also follows modules by hooks, which do not allow the gradients that an
    adaptive weight asks for.

    Attributes:
        counts: operator such as `aten::mm` -> operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count it."""
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.counts[str(packet).replace('.', '::')] += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out

    def get_total_flops(self) -> float:
        """Return all operations so far."""
        return sum(self.counts.values())
