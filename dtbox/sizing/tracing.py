"""What one forward pass on the meta device computes and keeps: FLOPs by part, and bytes that autograd keeps."""
from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dtbox.structures import QuantizerOutput


class PassFeatures:
    """A quantizer's forward that returns its input: a real one depends on values, which meta tensors do not have.

    Args:
        depth: codes of a token; 0 for a continuous quantizer.
        dim: width of the features.
    """

    def __init__(self, depth: int, dim: int) -> None:
        self.depth, self.dim = depth, dim

    def __call__(self, z: Tensor) -> QuantizerOutput:
        codes = torch.zeros(*z.shape[:2], self.depth, dtype=torch.int64) if self.depth else None
        return QuantizerOutput(z[..., :self.dim] * 1.0, codes, dict(commitment=z.square().mean()))


class FusedAttention(torch.autograd.Function):
    """Attention that keeps what fused kernels keep: q, k, v and the output.

    Without kernels, as on the meta device, PyTorch keeps the scores, too.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(q, k, v)
        repeats = q.shape[-3] // k.shape[-3]  # grouped queries: several heads read one of keys and values
        if repeats > 1:
            k, v = k.repeat_interleave(repeats, -3), v.repeat_interleave(repeats, -3)
        out = (q @ k.transpose(-2, -1)) @ v
        ctx.save_for_backward(*ctx.to_save, out)
        return out


@contextlib.contextmanager
def fuse_attention() -> Iterator[None]:
    """Let attention in the block keep what fused kernels keep."""
    def attend(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        return FusedAttention.apply(q, k, v, attn_mask)
    own = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = own


class FlopLedger:
    """Books FLOPs to the innermost part whose method runs; the counter has `get_total_flops`."""

    def __init__(self, counter: Any) -> None:
        self.counter, self.last = counter, 0
        self.flops, self.stack = {}, []

    def _settle(self):
        now = self.counter.get_total_flops()
        if self.stack:
            self.flops[self.stack[-1]] = self.flops.get(self.stack[-1], 0) + now - self.last
        self.last = now

    def watch(self, name: str, part: nn.Module, *methods: str) -> None:
        """Book what these methods of an object compute to `name`."""
        for method in methods:
            object.__setattr__(part, method, self._watched(name, getattr(part, method)))

    def _watched(self, name, method):
        def watched(*args, **kwargs):
            self._settle()
            self.stack.append(name)
            try:
                return method(*args, **kwargs)
            finally:
                self._settle()
                self.stack.pop()
        return watched


def read_any_text(tokenizer: Any) -> Tensor | None:
    """Return the tokens [1,L,W] of some text for a decoder that texts guide, None for others."""
    if not tokenizer.guided:
        return None
    asked = tokenizer.decoder.guidance
    if tokenizer.text is None:
        return torch.zeros(1, asked.length, asked.width)
    return tokenizer.text.tokens(torch.zeros(1, asked.length, dtype=torch.int64))


class KeptBytes(torch.autograd.graph.saved_tensors_hooks):
    """Adds up the bytes of the tensors that autograd keeps, each storage once, without the parameters.

    Attributes:
        bytes: of them.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.bytes, self.seen = 0, {p.untyped_storage()._cdata: p for p in parameters}
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen[storage._cdata] = tensor  # held, so that its address is not reused
            self.bytes += storage.nbytes()
        return tensor
