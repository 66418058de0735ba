"""The causal block against its formula, with torch's own attention."""
import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.layers.causal_block import CausalBlock, RMSNorm, make_mlp


def test_formula():
    """x + attention(norm(x)), then x + down(silu(gate) up); 1e-6 of values of about 1."""
    block, x = CausalBlock(24, 3), torch.randn(5, 4, 24)
    q, k, v = (part.unflatten(-1, (3, 8)).transpose(1, 2) for part in block.qkv(block.norm1(x)).split(24, -1))
    y = x + block.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
    gate, up = block.gate_up(block.norm2(y)).split(64, -1)
    assert torch.allclose(block(x), y + block.down(F.silu(gate) * up), atol=1e-6)


def test_norm():
    """(3, 4) over the root of its mean square, sqrt(12.5)."""
    norm = RMSNorm(2)
    norm.weight.data = torch.tensor([1.0, 2.0])
    assert norm(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([3 / 12.5 ** 0.5, 8 / 12.5 ** 0.5])


def test_mlp():
    mlp, x = make_mlp(3, 5, 2), torch.randn(4, 3)
    assert torch.allclose(mlp(x), mlp[2](F.gelu(mlp[0](x))))


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(InputError, match='^heads: 5 heads do not divide the width 24'):
        CausalBlock(24, 5)
