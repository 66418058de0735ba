"""MCQ: values by hand, and the cosine codebooks of the package vector-quantize-pytorch."""
import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.registry import QUANTIZERS


def build(**args):
    return QUANTIZERS.build(dict(type='MCQ', **args))


def test_values_by_hand():
    quantizer = build(size=2, dim=4, parts=2)
    quantizer.weight.data.copy_(torch.tensor([[[5.0, 0.0], [0.0, 0.1]], [[-1.0, 0.0], [3.0, 4.0]]]))
    out = quantizer(torch.tensor([[[0.3, 0.4, 0.0, 7.0]]]))  # the directions (0.6, 0.8) and (0, 1)
    assert out.codes.tolist() == [[[1, 1]]]
    assert torch.allclose(out.features, torch.tensor([[[0.0, 1.0, 0.6, 0.8]]]))
    distance = (0.36 + 0.04 + 0.36 + 0.04) / 4
    assert torch.allclose(out.losses['commitment'], torch.tensor(distance))
    assert torch.allclose(out.losses['codebook'], torch.tensor(4 * distance)) and set(out.losses) == {'commitment',
                                                                                                      'codebook'}


def test_start_of_the_table():
    weight = build(size=4096, dim=16, parts=2).weight
    assert weight.shape == (2, 4096, 8) and 0.99 < weight.abs().max() * 36 * 8 ** 0.5 <= 1


@pytest.mark.parametrize('temperature', [0.1, 1.0])
def test_entropy(temperature):
    quantizer = build(size=16, dim=8, parts=2, entropy_weight=0.5, temperature=temperature)
    z, total = torch.randn(2, 33, 8), 0
    for chunk, rows in zip(z.flatten(0, 1).double().chunk(2, -1), quantizer.weight.double()):
        p = (-torch.cdist(F.normalize(chunk, dim=-1), F.normalize(rows, dim=-1)).pow(2) / temperature).softmax(-1)
        total = total + torch.special.entr(p).sum(-1).mean() - torch.special.entr(p.mean(0)).sum()
    assert torch.allclose(quantizer(z).losses['entropy'].double(), 0.5 * total / 2, atol=1e-4)
    assert 'entropy' not in quantizer.eval()(z).losses


@pytest.mark.parametrize('args', [dict(size=0, dim=4, parts=2), dict(size=4, dim=5, parts=2),
                                  dict(size=4, dim=4, parts=4),
                                  dict(size=4, dim=4, parts=0), dict(size=4, dim=4, parts=2, codebook_weight=0),
                                  dict(size=4, dim=4, parts=2, temperature=0)])
def test_refused(args):
    with pytest.raises(InputError, match='expected'):
        build(**args)


def test_as_vector_quantize_pytorch():
    package = pytest.importorskip('vector_quantize_pytorch')
    theirs = package.VectorQuantize(dim=24, codebook_size=50, heads=3, codebook_dim=8, separate_codebook_per_head=True,
                                    use_cosine_sim=True).eval()
    ours, z = build(size=50, dim=24, parts=3).eval(), torch.randn(2, 33, 24)
    ours.weight.data.copy_(theirs.codebook * 3)
    out, (features, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes, codes) and torch.allclose(out.features, features, atol=1e-6)
