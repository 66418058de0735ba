"""Scaled dot-product attention behind one name, so that a config can choose who computes it.

Legend: B batch, H heads, N queries, M keys, W head width. All backends take q [B,H,N,W], k and v [B,H,M,W] and return
[B,H,N,W]; scale 1/sqrt(W); `causal` lets query t attend to keys <= t. No dropout.
"""
import torch
import torch.nn.functional as F

from dtbox.errors import need_package
from dtbox.registry import ATTENTION


@ATTENTION.register_module('sdpa')
def sdpa(q, k, v, causal=False):
    """PyTorch's fused attention: the default everywhere."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


@ATTENTION.register_module('eager')
def eager(q, k, v, causal=False):
    """The formula written out, as the reference to compare others with."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if causal:
        n, m = scores.shape[-2:]
        scores = scores.masked_fill(torch.ones(n, m, dtype=torch.bool, device=q.device).triu(1), float('-inf'))
    return scores.softmax(-1) @ v


@ATTENTION.register_module('xformers')
def xformers(q, k, v, causal=False):
    """xformers' memory-efficient attention (extra `xformers`; needs its CUDA kernels)."""
    ops = need_package('xformers.ops', 'xformers', 'attention backend `xformers`')
    bias = ops.LowerTriangularMask() if causal else None
    out = ops.memory_efficient_attention(*(t.transpose(1, 2).contiguous() for t in (q, k, v)), attn_bias=bias)
    return out.transpose(1, 2)
