"""Scaled dot-product attention under one name, so that a config can choose who computes it.

Legend: B batch, H heads, N queries, M keys, W head width. All backends take q [B,H,N,W], k and v [B,H,M,W] and return
[B,H,N,W]; scale 1/sqrt(W); `causal` lets query t attend to keys <= t; `bias` (float, or bool with True where a query
may look) is broadcast to [B,H,N,M] and added to the scores. No dropout.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.errors import InputError, need_package, reason
from dtbox.registry import ATTENTION


@ATTENTION.register_module('sdpa')
def sdpa(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, bias: Tensor | None = None) -> Tensor:
    """PyTorch's fused attention: the default everywhere."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal)


@ATTENTION.register_module('eager')
def eager(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, bias: Tensor | None = None) -> Tensor:
    """The formula written out, as the reference to compare others with."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores.masked_fill(~bias, float('-inf')) if bias.dtype == torch.bool else scores + bias
    if causal:
        n, m = scores.shape[-2:]
        scores = scores.masked_fill(torch.ones(n, m, dtype=torch.bool, device=q.device).triu(1), float('-inf'))
    return scores.softmax(-1) @ v


@ATTENTION.register_module('xformers')
def xformers(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, bias: Tensor | None = None) -> Tensor:
    """xformers' memory-efficient attention (extra `xformers`; needs its CUDA kernels): [B,N,H,W] tensors, a bias that
    is dense in memory."""
    ops = need_package('xformers.ops', 'xformers', 'attention backend `xformers`')
    if causal and bias is not None:
        raise InputError('attention backend `xformers` takes `causal` or `bias`, not both.')
    mask = ops.LowerTriangularMask() if causal else None if bias is None else align_bias(bias, q, k)
    out = ops.memory_efficient_attention(*(t.transpose(1, 2).contiguous() for t in (q, k, v)), attn_bias=mask)
    return out.transpose(1, 2)


def align_bias(bias: Tensor, q: Tensor, k: Tensor, multiple: int = 8) -> Tensor:
    """Return a bias as xformers' kernels want it: [B,H,N,M] of q's type, rows that begin at a multiple of 8 numbers in
    memory."""
    if bias.dtype == torch.bool:
        bias = torch.zeros(bias.shape, dtype=q.dtype, device=q.device).masked_fill_(~bias, float('-inf'))
    shape = (*q.shape[:3], k.shape[2])
    room = q.new_empty(*shape[:3], -(-shape[3] // multiple) * multiple)
    return room[..., :shape[3]].copy_(bias.expand(shape))


def check_backend(name: str) -> Callable[..., Tensor]:
    """Raise `InputError` where a backend cannot run on this machine: says why and what to install; returns the
    backend."""
    backend = ATTENTION.get(name)
    if name == 'xformers':
        need_package('xformers.ops', 'xformers', 'attention backend `xformers`')
        why = find_xformers_flaw()
        if why:
            raise InputError(f'attention backend `xformers` cannot run here: {why}. Install the xformers that was '
                             'built for this torch '
                             "(https://github.com/facebookresearch/xformers), or choose 'sdpa'.", 'attention')
    return backend


def find_xformers_flaw() -> str | None:
    """Return why xformers' kernels cannot run here, or None."""
    if not torch.cuda.is_available():
        return 'its kernels need a CUDA device, and there is none'
    try:
        from xformers import _cpp_lib
        _cpp_lib._register_extensions()
    except Exception as e:
        return f'its kernels do not load under torch {torch.__version__} ({reason(e)})'
    return None
