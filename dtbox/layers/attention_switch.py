"""One switch for the attention of a whole model, what timm, open_clip and torch compute included."""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.layers.attention import check_backend


def switch_attention(module: nn.Module, name: str) -> int:
    """Let every attention below a module be computed by a backend; weights and their names stay as they are.

    Reaches dtbox's own projections and decoders, timm's `Attention`, `AttentionPoolLatent` and `EvaAttention`, and
    torch's `MultiheadAttention` as open_clip uses it (self-attention, batch first or not).

    Args:
        module: nn.Module, changed in place.
        name: of the backend.

    Returns:
        number of attentions that were switched.

    Raises:
        InputError: an unknown backend, or one that cannot run here.
    """
    from timm.models.eva import EvaAttention
    from timm.models.vision_transformer import Attention, AttentionPoolLatent
    backend, count = check_backend(name), 0
    ours = {Attention: TimmAttention(), AttentionPoolLatent: TimmPool(), EvaAttention: TimmEva(),
            nn.MultiheadAttention: TorchAttention()}
    for part in module.modules():
        if hasattr(part, 'attend') and callable(part.attend) and not isinstance(part.attend, nn.Module):
            part.attend = backend
            count += 1
        elif type(part) in ours:
            part.attend, part.forward = backend, ours[type(part)].bound(part)
            count += 1
    return count


class _Forward:
    """A forward that calls `module.attend` in place of what the library calls."""

    def bound(self, module: nn.Module) -> Callable:
        """Return `forward` of one module."""
        return _Bound(self, module)


class _Bound:
    """A forward bound to its module; unlike a closure, it can be copied and pickled along with it."""

    def __init__(self, rule: Any, module: nn.Module):
        self.rule, self.module = rule, module

    def __call__(self, *args, **kwargs):
        return self.rule(self.module, *args, **kwargs)

    def __deepcopy__(self, memo):
        return _Bound(self.rule, copy.deepcopy(self.module, memo))


class TimmAttention(_Forward):
    """timm.layers.Attention."""

    def __call__(self, m, x, attn_mask=None, is_causal=False):
        b, n, _ = x.shape
        gate = m.gate(x).sigmoid() if getattr(m, 'gate', None) is not None else None
        q, k, v = m.qkv(x).reshape(b, n, 3, m.num_heads, m.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        x = m.norm(m.attend(m.q_norm(q), m.k_norm(k), v, causal=is_causal, bias=attn_mask).transpose(1, 2).reshape(b,
                                                                                                                   n,
                                                                                                                   -1))
        return m.proj_drop(m.proj(x if gate is None else x * gate))


class TimmPool(_Forward):
    """timm.layers.AttentionPoolLatent."""

    def __call__(self, m, x, attn_mask=None):
        b, n, c = x.shape
        if m.pos_embed is not None:
            x = x + m.pos_embed.unsqueeze(0).to(x.dtype)
        q = m.q(m.latent.expand(b, -1, -1)).reshape(b, m.latent_len, m.num_heads, m.head_dim).transpose(1, 2)
        k, v = m.kv(x).reshape(b, n, 2, m.num_heads, m.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        x = m.attend(m.q_norm(q), m.k_norm(k), v, bias=attn_mask).transpose(1, 2).reshape(b, m.latent_len, c)
        x = m.proj_drop(m.proj(x))
        if m.mlp is not None:
            x = x + m.mlp(m.norm(x))
        return x[:, 0] if m.pool == 'token' else x.mean(1) if m.pool == 'avg' else x


class TimmEva(_Forward):
    """timm.models.eva.EvaAttention: rotary positions on all but the prefix tokens."""

    def __call__(self, m, x, rope=None, attn_mask=None, is_causal=False):
        from timm.layers import apply_rot_embed_cat
        b, n, _ = x.shape
        gate = m.gate(x).sigmoid() if getattr(m, 'gate', None) is not None else None
        if m.qkv is not None:
            qkv = m.qkv(x) if m.q_bias is None else m.qkv(x) + torch.cat([m.q_bias, m.k_bias, m.v_bias])
            q, k, v = qkv.reshape(b, n, 3, m.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (f(x).reshape(b, n, m.num_heads, -1).transpose(1, 2) for f in (m.q_proj, m.k_proj, m.v_proj))
        q, k = m.q_norm(q), m.k_norm(k)
        if rope is not None:
            p, half = m.num_prefix_tokens, getattr(m, 'rotate_half', False)
            q, k = (torch.cat([t[:, :, :p], apply_rot_embed_cat(t[:, :, p:], rope, half=half)], dim=2).type_as(v)
                    for t in (q, k))
        x = m.norm(m.attend(q, k, v, causal=is_causal, bias=attn_mask).transpose(1, 2).reshape(b, n, -1))
        return m.proj_drop(m.proj(x if gate is None else x * gate))


class TorchAttention(_Forward):
    """torch.nn.MultiheadAttention with packed projections and no key padding, as open_clip's blocks call it."""

    def __call__(self, m, query, key, value, need_weights=False, attn_mask=None, **kwargs):
        wrong = [k for k, given in kwargs.items() if given not in (None, False, True) or k == 'key_padding_mask'
                 and given is not None]
        if need_weights or wrong or m.in_proj_weight is None or m.bias_k is not None:
            raise InputError('this MultiheadAttention is called in a way that only PyTorch itself computes (weights, '
                             'padding masks, extra keys); '
                             "choose the attention backend 'sdpa'.", 'attention')
        parts = [F.linear(t, w, b) for t, w, b in zip((query, key, value), m.in_proj_weight.chunk(3),
                                                      m.in_proj_bias.chunk(3) if m.in_proj_bias is not None else (None,
                                                      ) * 3)]
        first = m.batch_first
        q, k, v = ((t if first else t.transpose(0, 1)).unflatten(-1, (m.num_heads, -1)).transpose(1, 2) for t in parts)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = ~attn_mask  # torch.nn has True where a query may not look
        out = m.attend(q, k, v, bias=attn_mask).transpose(1, 2).flatten(2)
        return m.out_proj(out if first else out.transpose(0, 1)), None
