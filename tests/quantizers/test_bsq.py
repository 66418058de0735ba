"""BSQ: values by hand, and the package vector-quantize-pytorch."""
import pytest
import torch

from dtbox.registry import QUANTIZERS


def build(dim, **args):
    return QUANTIZERS.build(dict(type='BSQ', dim=dim, **args))


def brute_force(u, temperature):
    """Entropies by the table of all corners, in float64: of a sample, of the batch."""
    dim = u.shape[-1]
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * dim).view(-1, dim).double() / dim ** 0.5
    p = (-torch.cdist(u.double(), corners).pow(2) / temperature).softmax(-1)
    return torch.special.entr(p).sum(-1).mean(), torch.special.entr(p.mean(0)).sum()


def test_values_by_hand():
    out = build(4)(torch.tensor([[[3.0, -4.0, 0.0, 12.0]]]))  # of length 13
    assert out.codes.tolist() == [[[0b1001]]] and out.features.tolist() == [[[0.5, -0.5, -0.5, 0.5]]]
    want = sum((u - q) ** 2 for u, q in zip([3 / 13, -4 / 13, 0, 12 / 13], [0.5, -0.5, -0.5, 0.5])) / 16
    assert torch.allclose(out.losses['commitment'], torch.tensor(want))


def test_widest_codes():
    quantizer = build(62).eval()
    z = torch.randn(1, 50, 62)
    z[0, 0], z[0, 1] = 1.0, -1.0
    codes = quantizer.encode(z)
    assert codes[0, :2, 0].tolist() == [2 ** 62 - 1, 0]
    want = [sum(2 ** (61 - i) for i in range(62) if row[i] > 0) for row in z[0].tolist()]
    assert codes[0, :, 0].tolist() == want and torch.allclose(quantizer.decode(codes), z.sign() / 62 ** 0.5)


@pytest.mark.parametrize('temperature', [0.02, 1.0])
@pytest.mark.parametrize('group', [6, 3])
def test_entropy_term(group, temperature):
    """All 6 bits at once, or two groups of 3 whose corners keep their length of 6 bits."""
    quantizer = build(6, temperature=temperature, group=group, entropy_weight=0.5, diversity=0.7)
    z = torch.randn(1, 50, 6)
    u = torch.nn.functional.normalize(z[0], dim=-1)
    sample, batch = brute_force(u, temperature)
    if group == 3:  # a corner of 3 of 6 bits is shorter than one of 3 bits by sqrt(2)
        parts = [brute_force(u[:, i:i + 3] / 2 ** 0.5, temperature)[1] for i in (0, 3)]
        assert sum(parts) > batch + 1e-4
        batch = sum(parts)
    assert torch.allclose(quantizer(z).losses['entropy'].double(), 0.5 * (sample - 0.7 * batch), atol=1e-4)


def test_length_does_not_matter():
    z = torch.randn(2, 9, 4)
    one, other = build(4)(z), build(4)(37.0 * z)
    assert torch.equal(one.codes, other.codes)
    assert all(torch.allclose(one.losses[k], v, atol=1e-5) for k, v in other.losses.items())
    assert set(one.losses) == {'commitment', 'entropy'}


def test_no_table_of_all_codes_for_each_token():
    sizes, z = [], torch.randn(1, 512, 36, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        build(36)(z)
    assert 0 < max(sizes) <= 512 * 36
