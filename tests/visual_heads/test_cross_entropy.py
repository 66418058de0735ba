"""Cross entropy in chunks = cross entropy at once, with gradients."""
import pytest
import torch
import torch.nn.functional as F

from dtbox.visual_heads import cross_entropy
from dtbox.visual_heads.cross_entropy import sum_cross_entropy

SIZES = (5, 3, 7)


def make():
    states = torch.randn(11, 3, 6, requires_grad=True)
    weight = torch.randn(15, 6, requires_grad=True)
    targets = torch.stack([torch.randint(size, (11,)) for size in SIZES], 1)
    targets[2, 0] = targets[5] = -1
    return states, weight, targets


def plain(states, weight, targets):
    """The same by torch: a loop over the classifiers."""
    logits = [states[:, t] @ w.T for t, w in enumerate(weight.split(SIZES))]
    return torch.stack([F.cross_entropy(one, targets[:, t], reduction='sum', ignore_index=-1)
                        for t, one in enumerate(logits)])


@pytest.mark.parametrize('chunk', [1, 4, 11, None])
def test_values_and_gradients(chunk):
    """Float32 sums of 11 terms of about 5: 1e-5."""
    states, weight, targets = make()
    above = torch.tensor([1.0, -0.5, 3.0])
    want = plain(states, weight, targets)
    expected = torch.autograd.grad(want @ above, [states, weight])
    found = sum_cross_entropy(states, weight, targets, SIZES, chunk)
    assert torch.allclose(found, want, atol=1e-5)
    for a, b in zip(torch.autograd.grad(found @ above, [states, weight]), expected):
        assert torch.allclose(a, b, atol=1e-5)


def test_one_gradient_alone():
    """Frozen classifiers, or states that need none."""
    states, weight, targets = make()
    expected = torch.autograd.grad(plain(states, weight, targets).sum(), [states, weight])
    for given, index in (((states, weight.detach()), 0), ((states.detach(), weight), 1)):
        gradient, = torch.autograd.grad(sum_cross_entropy(*given, targets, SIZES).sum(), given[index])
        assert torch.allclose(gradient, expected[index], atol=1e-5)
    assert not sum_cross_entropy(states.detach(), weight.detach(), targets, SIZES).requires_grad


def test_large_logits():
    """Logits of a thousand: no infinity, and a loss of their difference."""
    weight = torch.tensor([[1000.0], [0.0], [-1000.0]])
    states, targets = torch.ones(2, 1, 1), torch.tensor([[0], [2]])
    assert sum_cross_entropy(states, weight, targets, (3,)).tolist() == [2000.0]


def test_no_more_places_than_a_chunk(monkeypatch):
    """Logits of 8 places at most are held."""
    whole, counts = cross_entropy._chunk, []
    monkeypatch.setattr(cross_entropy, '_chunk', lambda states, *rest: counts.append(len(states)) or whole(states,
                                                                                                          *rest))
    states, weight, targets = make()
    cross_entropy.sum_cross_entropy(states, weight, targets, SIZES, chunk=8).sum().backward()
    assert counts == [8, 3] * 3
