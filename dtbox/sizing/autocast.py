"""Autocast to bfloat16 on the meta device, which PyTorch does not have: products in bfloat16, norms in float32.

As CUDA's. The lists are those of the page "Automatic Mixed Precision package", CUDA Op-Specific Behavior, of PyTorch's
documentation, as far as models here use them. A norm keeps its input in float32, beside the bfloat16 that the next
product keeps, so that activations take more than half of those without autocast.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dtbox.sizing.tracing import KeptBytes

PRODUCTS = frozenset((
    F.linear, torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose2d, torch.matmul, torch.Tensor.matmul,
    torch.Tensor.__matmul__, torch.bmm, torch.baddbmm, torch.addmm, torch.einsum))
PRECISE = frozenset((
    F.layer_norm, torch.layer_norm, F.group_norm, torch.group_norm, F.softmax, torch.softmax, torch.Tensor.softmax,
    F.log_softmax, torch.pow, torch.Tensor.pow, torch.norm, torch.Tensor.norm, torch.exp, torch.Tensor.exp))


class MetaAutocast(TorchFunctionMode):
    """Casts the arguments of `PRODUCTS` to bfloat16, and of `PRECISE` to float32.

    Args:
        kept: does not count the copies of weights, which are there once whatever the batch is.

    Attributes:
        copies: bytes of the bfloat16 copies of weights that learn, which autocast keeps during a step.
    """

    def __init__(self, kept: KeptBytes) -> None:
        super().__init__()
        self.kept, self.copies = kept, 0
        self._weights: dict[int, Tensor] = {}

    def __torch_function__(self, func: Callable, types: Any, args: Iterable[Any] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        """Call a function of PyTorch with its arguments in the type that autocast gives them."""
        dtype = torch.bfloat16 if func in PRODUCTS else torch.float32 if func in PRECISE else None
        if dtype is None:
            return func(*args, **(kwargs or {}))
        return func(*(self._cast(value, dtype) for value in args),
                    **{key: self._cast(value, dtype) for key, value in (kwargs or {}).items()})

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(dtype)
        if id(value) not in self._weights:
            copy = self._weights[id(value)] = value.to(dtype)
            self.kept.seen[copy.untyped_storage()._cdata] = copy
            self.copies += copy.untyped_storage().nbytes() if value.requires_grad else 0
        return self._weights[id(value)]


@contextlib.contextmanager
def cast_as_training(kept: KeptBytes, half: bool) -> Iterator[MetaAutocast]:
    """Compute within the block as a step under autocast does, where it is `half`."""
    mode = MetaAutocast(kept)
    with mode if half else contextlib.nullcontext():
        yield mode
