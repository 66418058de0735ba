"""IBQ: the method written out with one-hot matrices."""
import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.quantizers import ibq
from dtbox.registry import QUANTIZERS


def build(**args):
    return QUANTIZERS.build(dict(type='IBQ', **args))


def pair(size=20, dim=4, **args):
    """A quantizer with rows of length about 1, and features."""
    quantizer = build(size=size, dim=dim, **args)
    quantizer.weight.data.normal_()
    return quantizer, torch.randn(2, 33, dim)


def written_out(z, table, beta, entropy_weight, temperature):
    """The method with its one-hot matrices: features, codes, total of the terms."""
    logits = z.flatten(0, 1) @ table.t()
    soft = logits.softmax(1)
    hard = F.one_hot(logits.argmax(1), len(table)).float()
    one_hot = hard + soft - soft.detach()
    q, h = (one_hot @ table).view_as(z), (hard @ table).view_as(z)
    p = (logits / temperature).softmax(1)
    entropy = torch.special.entr(p).sum(1).mean() - torch.special.entr(p.mean(0)).sum()
    total = F.mse_loss(q, z) + F.mse_loss(h.detach(), z) + beta * F.mse_loss(h, z.detach()) + entropy_weight * entropy
    return q, logits.argmax(1).view(z.shape[:2]), total


@pytest.mark.parametrize('entries', [1 << 21, 100])
def test_as_written_out(monkeypatch, entries):
    """Values and gradients, in one block and in blocks of 5 rows."""
    quantizer, z = pair(codebook_weight=0.3, entropy_weight=0.2, temperature=0.5)
    monkeypatch.setattr(ibq, 'ENTRIES', entries)
    grads = []
    for own in (True, False):
        x, quantizer.weight.grad = z.clone().requires_grad_(True), None
        if own:
            out = quantizer(x)
            features = out.features
            codes = out.codes[..., 0]
            total = sum(out.losses.values())
            assert set(out.losses) == {'index', 'commitment', 'codebook', 'entropy'}
        else:
            features, codes, total = written_out(x, quantizer.weight, 0.3, 0.2, 0.5)
        (total + features.pow(3).mean()).backward()
        grads.append((features, codes, total, x.grad, quantizer.weight.grad))
    for a, b in zip(*grads):
        assert torch.allclose(a, b, atol=1e-5)


def test_every_code_gets_a_gradient():
    quantizer, z = pair()
    out = quantizer(z[:, :1])
    out.features.sum().backward()
    assert out.codes.unique().numel() <= 2 and (quantizer.weight.grad.abs().sum(1) > 0).all()


def test_blocks_bound_the_memory(monkeypatch):
    """What the forward keeps for the backward pass does not hold the scores of all tokens."""
    quantizer, _ = pair(size=500)
    kept = []
    monkeypatch.setattr(ibq, 'ENTRIES', 500 * 8)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        quantizer(torch.randn(1, 1000, 4, requires_grad=True))
    assert 0 < max(kept) <= 500 * 8


def test_evaluation_has_the_features_of_training():
    quantizer, z = pair()
    training = quantizer(z)
    with torch.no_grad():
        evaluation = quantizer.eval()(z)
    assert torch.equal(training.features, evaluation.features) and torch.equal(training.codes, evaluation.codes)
    assert 'entropy' not in evaluation.losses


@pytest.mark.parametrize('args', [dict(size=0, dim=4), dict(size=4, dim=0), dict(size=4, dim=4, temperature=0.0),
                                  dict(size=4, dim=4, entropy_weight=-1.0)])
def test_refused(args):
    with pytest.raises(InputError, match='expected'):
        build(**args)
