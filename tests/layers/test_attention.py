"""Attention backends: one value, by hand and against each other."""
import sys

import pytest
import torch

from dtbox.errors import InputError
from dtbox.layers.attention import eager, sdpa
from dtbox.registry import ATTENTION


@pytest.mark.parametrize('name', ['sdpa', 'eager'])
def test_by_hand(name):
    """Scores 0 and ln 3 with scale 1/sqrt(4): weights 1/4 and 3/4."""
    q = torch.tensor([[2., 0., 0., 0.], [2., 0., 0., 0.]]).view(1, 1, 2, 4)
    k = torch.tensor([[0., 5., 0., 0.], [3., 0., 0., 0.]]).log1p().view(1, 1, 2, 4)
    k[0, 0, 1, 0] = torch.tensor(3.).log()
    v = torch.tensor([[4., 0., 1., 1.], [0., 8., 1., 3.]]).view(1, 1, 2, 4)
    both = torch.tensor([1., 6., 1., 2.5])
    attend = ATTENTION.get(name)
    assert torch.allclose(attend(q, k, v)[0, 0], torch.stack([both, both]))
    assert torch.allclose(attend(q, k, v, causal=True)[0, 0], torch.stack([v[0, 0, 0], both]))


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('queries, keys', [(5, 5), (1, 1), (3, 5), (5, 3)])
def test_backends_agree(causal, queries, keys):
    q = torch.randn(2, 3, queries, 8, dtype=torch.double, requires_grad=True)
    k, v = torch.randn(2, 3, keys, 8, dtype=torch.double), torch.randn(2, 3, keys, 8, dtype=torch.double)
    a, b = sdpa(q, k, v, causal), eager(q, k, v, causal)
    assert a.shape == (2, 3, queries, 8) and torch.allclose(a, b, atol=1e-12)
    grads = [torch.autograd.grad(x.pow(2).sum(), q)[0] for x in (a, b)]
    assert torch.allclose(*grads, atol=1e-12)


def test_causal_looks_back_only():
    q, k, v = torch.randn(3, 1, 2, 6, 4).unbind(0)
    before = sdpa(q, k, v, causal=True)
    k[:, :, 4:], v[:, :, 4:] = 9., 9.
    after = sdpa(q, k, v, causal=True)
    assert torch.equal(before[:, :, :4], after[:, :, :4]) and not torch.allclose(before[:, :, 4:], after[:, :, 4:])


def test_missing_xformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'xformers.ops', None)
    with pytest.raises(InputError, match=r'attention backend `xformers` needs the package '
                                         r'`xformers\.ops`.*dtbox\[xformers\]'):
        ATTENTION.get('xformers')(*torch.randn(3, 1, 1, 2, 4))


def test_unknown_backend():
    with pytest.raises(InputError, match='Did you mean `sdpa`'):
        ATTENTION.get('spda')


@pytest.mark.parametrize('shape', [(2, 3, 5, 7), (1, 1, 5, 7), (5, 7)])
def test_biases(shape):
    q = torch.randn(2, 3, 5, 8)
    k = torch.randn(2, 3, 7, 8)
    v = torch.randn(2, 3, 7, 8)
    for bias in (torch.randn(shape), torch.rand(shape) > 0.3):
        if bias.dtype == torch.bool:
            bias[..., 0] = True
        assert torch.allclose(sdpa(q, k, v, bias=bias), eager(q, k, v, bias=bias), atol=1e-6)


# ---- xformers, by its documented semantics: [B, M, H, K] tensors, scale 1/sqrt(K), an additive bias whose rows are
# aligned ------

class Kernels:
    """What `xformers.ops.memory_efficient_attention` is documented to compute."""

    class LowerTriangularMask:
        """Causal."""

    def memory_efficient_attention(self, query, key, value, attn_bias=None):
        assert all(t.is_contiguous() for t in (query, key, value))
        b, m, h, w = query.shape
        scores = torch.einsum('bmhk,bnhk->bhmn', query, key) / w ** 0.5
        if isinstance(attn_bias, self.LowerTriangularMask):
            scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float('-inf'))
        elif attn_bias is not None:
            assert attn_bias.shape == scores.shape
            assert attn_bias.dtype == query.dtype
            assert attn_bias.stride(-2) % 8 == 0
            assert attn_bias.stride(-1) == 1
            scores = scores + attn_bias
        return torch.einsum('bhmn,bnhk->bmhk', scores.softmax(-1), value)


@pytest.fixture
def kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, 'xformers.ops', Kernels())
    monkeypatch.setitem(sys.modules, 'xformers', type(sys)('xformers'))
    monkeypatch.setattr('dtbox.layers.attention.find_xformers_flaw', lambda: None)
    return ATTENTION.get('xformers')


def test_layout_scale_and_bias_of_xformers(kernels):
    q = torch.randn(2, 3, 5, 8)
    k = torch.randn(2, 3, 7, 8)
    v = torch.randn(2, 3, 7, 8)
    assert torch.allclose(kernels(q, k, v), sdpa(q, k, v), atol=1e-6)
    assert torch.allclose(kernels(q, k[:, :, :5], v[:, :, :5], causal=True),
                          sdpa(q, k[:, :, :5], v[:, :, :5], causal=True), atol=1e-6)
    look = torch.rand(5, 7) > 0.3
    look[:, 0] = True
    for bias in (torch.randn(1, 3, 5, 7), look):
        assert torch.allclose(kernels(q, k, v, bias=bias), sdpa(q, k, v, bias=bias), atol=1e-6)
    with pytest.raises(InputError, match='takes `causal` or `bias`, not both'):
        kernels(q, k, v, causal=True, bias=look)


def test_xformers_that_cannot_run_says_why(monkeypatch):
    from dtbox.layers.attention import check_backend
    monkeypatch.setitem(sys.modules, 'xformers.ops', Kernels())
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(InputError, match="cannot run here: its kernels need a CUDA device, and there is none. Install "
                                         ".* or choose 'sdpa'"):
        check_backend('xformers')
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setitem(sys.modules, 'xformers', type(sys)('xformers'))
    with pytest.raises(InputError, match='its kernels do not load under torch'):
        check_backend('xformers')
