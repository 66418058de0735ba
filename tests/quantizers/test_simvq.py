"""SimVQ: values by hand, and the package vector-quantize-pytorch."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import QUANTIZERS


def build(**args):
    return QUANTIZERS.build(dict(type='SimVQ', **args))


def test_values_by_hand():
    quantizer = build(size=2, dim=2)
    quantizer.frozen.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    quantizer.transform.weight.data.copy_(torch.tensor([[3.0, 1.0], [0.0, 2.0]]))  # the rows are (3, 0) and (1, 2)
    z = torch.tensor([[[2.0, 2.0]]], requires_grad=True)
    out = quantizer(z)
    assert out.codes.tolist() == [[[1]]] and out.features.tolist() == [[[1.0, 2.0]]]
    assert out.losses['commitment'].item() == 0.5 and out.losses['codebook'].item() == 2.0
    sum(out.losses.values()).backward()
    assert z.grad.tolist() == [[[1.0, 0.0]]]
    assert quantizer.transform.weight.grad.tolist() == [[0.0, -4.0],
                                                        [0.0, 0.0]]  # 4 (q - z), at the row that was chosen


def test_every_code_moves():
    quantizer = build(size=50, dim=4)
    before = quantizer.table().detach()
    quantizer(torch.randn(1, 1, 4)).losses['codebook'].backward()
    quantizer.transform.weight.data.sub_(quantizer.transform.weight.grad)
    assert ((quantizer.table() - before).abs().sum(1) > 0).all() and not quantizer.frozen.requires_grad


@pytest.mark.parametrize('args', [dict(size=0, dim=4), dict(size=4, dim=0), dict(size=4, dim=4, latent_dim=0)])
def test_refused_sizes(args):
    with pytest.raises(InputError, match='expected a positive integer'):
        build(**args)


def test_refused_weight():
    with pytest.raises(InputError, match='has to be positive'):
        build(size=4, dim=4, codebook_weight=0)


@pytest.mark.parametrize('latent', [8, 5])
def test_as_vector_quantize_pytorch(latent):
    package = pytest.importorskip('vector_quantize_pytorch')
    theirs = package.SimVQ(dim=8, codebook_size=100, rotation_trick=False, frozen_codebook_dim=latent)
    ours = build(size=100, dim=8, latent_dim=latent)
    ours.frozen.copy_(theirs.frozen_codebook)
    ours.transform.load_state_dict(theirs.code_transform.state_dict())
    z, x = (torch.randn(2, 33, 8, generator=torch.Generator().manual_seed(3)).requires_grad_(True) for _ in range(2))
    out, (features, codes, loss) = ours(z), theirs(x)
    assert torch.equal(out.codes[..., 0], codes) and torch.allclose(out.features, features, atol=1e-6)
    assert torch.allclose(ours.decode(out.codes), theirs.indices_to_codes(codes), atol=1e-6)
    own = 0.25 * sum(out.losses.values())  # the package: 0.25 and 1, where commitment is 1 and codebook 4 here
    assert torch.allclose(own, loss)
    (own + out.features.pow(3).sum()).backward(), (loss + features.pow(3).sum()).backward()
    assert torch.allclose(z.grad, x.grad, atol=1e-5)
    assert torch.allclose(ours.transform.weight.grad, theirs.code_transform.weight.grad, atol=1e-6)


def test_weight_of_the_codebook_term():
    quantizer, other = build(size=8, dim=3, codebook_weight=4.0), build(size=8, dim=3, codebook_weight=1.5)
    other.load_state_dict(quantizer.state_dict())
    z = torch.randn(1, 5, 3)
    terms, halved = quantizer(z).losses, other(z).losses
    assert torch.allclose(halved['codebook'], terms['codebook'] * 0.375)
    assert torch.equal(halved['commitment'], terms['commitment'])
