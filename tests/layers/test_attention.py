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
    with pytest.raises(InputError, match=r'attention backend `xformers` needs the package `xformers\.ops`.*dtbox\[xformers\]'):
        ATTENTION.get('xformers')(*torch.randn(3, 1, 1, 2, 4))


def test_unknown_backend():
    with pytest.raises(InputError, match='Did you mean `sdpa`'):
        ATTENTION.get('spda')
