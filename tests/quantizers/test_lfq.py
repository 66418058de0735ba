"""LFQ: values by hand, and the package vector-quantize-pytorch."""
import math

import pytest
import torch

from dtbox.errors import InputError
from dtbox.quantizers.binary import batch_entropy, sample_entropy
from dtbox.registry import QUANTIZERS


def build(dim, **args):
    return QUANTIZERS.build(dict(type='LFQ', dim=dim, **args))


def brute_force(z, temperature):
    """Entropies by the table of all codes, in float64: of a sample, of the batch."""
    dim = z.shape[-1]
    codes = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * dim).view(-1, dim).double()
    p = (-torch.cdist(z.double(), codes).pow(2) / temperature).softmax(-1)
    return torch.special.entr(p).sum(-1).mean(), torch.special.entr(p.mean(0)).sum()


def entropies(quantizer, z):
    logits = z * (4 / quantizer.temperature)
    return sample_entropy(logits), batch_entropy(logits, quantizer.group)


def test_values_by_hand():
    out = build(4)(torch.tensor([[[0.5, -0.1, 0.0, 2.0]]]))
    assert out.codes.tolist() == [[[0b1001]]] and out.features.tolist() == [[[1, -1, -1, 1]]]
    assert torch.allclose(out.losses['commitment'], torch.tensor(0.25 * (0.25 + 0.81 + 1 + 1) / 4))


def test_bits_in_the_order_of_open_magvit2():
    """Channel 0 is the lowest bit, of every code where a token has several; features and terms are the same."""
    z = torch.tensor([[[0.5, -0.1, 0.0, 2.0, 1.0]]])
    one, two = build(5, lowest_first=True), build(5, lowest_first=True, parts=[2, 3])
    assert one(z).codes.tolist() == [[[0b11001]]] and two(z).codes.tolist() == [[[0b01, 0b110]]]
    assert two.codebook_sizes == [4, 8] and build(5, parts=[2, 3])(z).codes.tolist() == [[[0b10, 0b011]]]
    for quantizer in (one, two):
        assert torch.equal(quantizer.decode(quantizer.encode(z)), build(5)(z).features)
        assert quantizer(z).losses == build(5)(z).losses


def test_floor_by_hand():
    """A constant inside the logarithm of the mean probabilities: two bits that are even, four codes of 1/4."""
    z = torch.zeros(1, 3, 2)
    assert batch_entropy(z[0], 18, 0.25).item() == pytest.approx(-math.log(0.5), rel=1e-6)
    want = 0.1 * (2 * math.log(2) + math.log(0.5))
    assert build(2, floor=0.25)(z).losses['entropy'].item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize('args', [dict(parts=[2, 2]), dict(parts=[5, 0]), dict(floor=-1.0)])
def test_refused(args):
    with pytest.raises(InputError, match='expected'):
        build(5, **args)


def test_widest_codes():
    quantizer = build(62).eval()
    z = torch.randn(1, 50, 62)
    z[0, 0], z[0, 1] = 1.0, -1.0
    codes = quantizer.encode(z)
    assert codes[0, :2, 0].tolist() == [2 ** 62 - 1, 0]
    want = [sum(2 ** (61 - i) for i in range(62) if row[i] > 0) for row in z[0].tolist()]
    assert codes[0, :, 0].tolist() == want and torch.equal(quantizer.decode(codes), z.sign())


@pytest.mark.parametrize('temperature', [0.01, 1.0])
@pytest.mark.parametrize('dim', [1, 4, 7])
def test_entropy_is_that_of_all_codes(dim, temperature):
    z = torch.randn(50, dim) * 0.3
    for found, want in zip(entropies(build(dim, temperature=temperature), z), brute_force(z, temperature)):
        assert torch.allclose(found.double(), want, atol=1e-4)


def test_groups_add_up():
    z = torch.randn(50, 6) * 0.3
    _, found = entropies(build(6, temperature=1.0, group=3), z)
    assert torch.allclose(found.double(), brute_force(z[:, :3], 1.0)[1] + brute_force(z[:, 3:], 1.0)[1], atol=1e-5)
    assert found > entropies(build(6, temperature=1.0), z)[1] + 1e-3  # the bits are not independent


def test_entropy_spreads_the_codes():
    quantizer = build(4, temperature=1.0)
    z = (torch.randn(1, 64, 4) * 0.05 + 0.5).requires_grad_(True)
    first = quantizer(z).codes.unique().numel()
    for _ in range(100):
        loss = quantizer(z).losses['entropy']
        z.grad = None
        loss.backward()
        z.data.sub_(z.grad, alpha=50.0)
    assert first == 1 and quantizer(z).codes.unique().numel() > 8


def test_far_values_have_a_finite_gradient():
    z = (torch.randn(1, 9, 4) * 1e3).requires_grad_(True)
    quantizer = build(4)
    quantizer(z).losses['entropy'].backward()
    assert z.grad.isfinite().all() and quantizer(z).losses['entropy'].isfinite()


def test_no_table_of_all_codes_for_each_token():
    sizes, z = [], torch.randn(1, 512, 18, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        build(18)(z)
    assert 0 < max(sizes) <= max(2 ** 18, 512 * 2 ** 9)
