"""The adapter of vector-quantize-pytorch: the contract for every class that fits, and dtbox's own quantizers beside the
package's."""
import sys
from pathlib import Path

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.extend import load_plugins
from dtbox.registry import QUANTIZERS
from dtbox.testing import check_quantizer, quantizer_checks

package = pytest.importorskip('vector_quantize_pytorch')
HERE = Path(__file__).parent
load_plugins([str(HERE)])

ZOO = {
    'VectorQuantize, k-means': dict(kind='VectorQuantize', dim=4, codebook_size=16, kmeans_init=True,
                                    threshold_ema_dead_code=2),
    'VectorQuantize, cosine': dict(kind='VectorQuantize', dim=4, codebook_size=16, use_cosine_sim=True),
    'VectorQuantize, heads': dict(kind='VectorQuantize', dim=4, codebook_size=16, heads=2, codebook_dim=3),
    'VectorQuantize, tables': dict(kind='VectorQuantize', dim=4, codebook_size=16, heads=2, codebook_dim=2,
                                   separate_codebook_per_head=True),
    'VectorQuantize, gradient': dict(kind='VectorQuantize', dim=4, codebook_size=16, learnable_codebook=True,
                                     ema_update=False),
    'ResidualVQ': dict(kind='ResidualVQ', dim=4, codebook_size=16, num_quantizers=3),
    'ResidualVQ, shared': dict(kind='ResidualVQ', dim=4, codebook_size=16, num_quantizers=3, shared_codebook=True),
    'ResidualVQ, QINCo': dict(kind='ResidualVQ', dim=4, codebook_size=16, num_quantizers=3,
                              implicit_neural_codebook=True),
    'ResidualVQ, beam': dict(kind='ResidualVQ', dim=4, codebook_size=16, num_quantizers=3, beam_size=2),
    'GroupedResidualVQ': dict(kind='GroupedResidualVQ', dim=4, codebook_size=16, num_quantizers=3, groups=2),
    'FSQ': dict(kind='FSQ', levels=[5, 4, 3]),
    'FSQ, projected': dict(kind='FSQ', levels=[5, 4, 3], dim=8),
    'FSQ, codebooks': dict(kind='FSQ', levels=[5, 4], num_codebooks=2),
    'FSP': dict(kind='FSP', levels=[5, 4, 3]),
    'ResidualFSQ': dict(kind='ResidualFSQ', levels=[5, 4, 3], num_quantizers=2),
    'GroupedResidualFSQ': dict(kind='GroupedResidualFSQ', levels=[5, 4], dim=4, groups=2, num_quantizers=3),
    'LFQ': dict(kind='LFQ', dim=4),
    'LFQ, spherical': dict(kind='LFQ', dim=4, spherical=True),
    'LFQ, codebooks': dict(kind='LFQ', dim=6, codebook_size=8, num_codebooks=2),
    'ResidualLFQ': dict(kind='ResidualLFQ', dim=4, codebook_size=16, num_quantizers=2),
    'GroupedResidualLFQ': dict(kind='GroupedResidualLFQ', dim=4, codebook_size=4, groups=2, num_quantizers=2),
    'SimVQ': dict(kind='SimVQ', dim=4, codebook_size=16),
    'ResidualSimVQ': dict(kind='ResidualSimVQ', dim=4, codebook_size=16, num_quantizers=2),
    'LatentQuantize': dict(kind='LatentQuantize', levels=[5, 5, 8], dim=4),
    'BinaryMapper': dict(kind='BinaryMapper', bits=4)}

test_contract = quantizer_checks(dict(type='VQP', kind='VectorQuantize', dim=4, codebook_size=16), plugins=[str(HERE)])


def build(type, **args):
    return QUANTIZERS.build(dict(type=type, **args))


@pytest.mark.filterwarnings('ignore:var_mean')
@pytest.mark.parametrize('name', ZOO)
def test_contract_of(name):
    check_quantizer(dict(type='VQP', **ZOO[name]), plugins=[str(HERE)], skip=['memory'])


def test_every_class_of_the_package_has_an_answer():
    module = sys.modules[QUANTIZERS.get('VQP').__module__]
    classes = {name for name in dir(package) if isinstance(getattr(package, name), type)
               and issubclass(getattr(package, name), torch.nn.Module)}
    assert classes == set(module.DECODERS) | set(module.UNFIT)
    assert {args['kind'] for args in ZOO.values()} == set(module.DECODERS)


@pytest.mark.parametrize('kind', ['RandomProjectionQuantizer', 'HierarchicalVQ', 'EvoLFQ', 'Sequential'])
def test_what_cannot_fit(kind):
    with pytest.raises(InputError, match=f'{kind} of vector-quantize-pytorch cannot be a quantizer here: it'):
        build('VQP', kind=kind)


@pytest.mark.parametrize('args, message', [
    (dict(kind='VectorQuantise'), r'`kind` is .*Did you mean `VectorQuantize`'),
    (dict(kind='FSQ', levels=[5], level=3), r'FSQ takes no argument `level`.*`levels`'),
    (dict(kind='FSQ', levels=[5, 2]), r'refuses .*preserve_symmetry'),
    (dict(kind='ResidualVQ', dim=4, num_quantizers=2, codebook_size=8, wrong=1), r'refuses .*wrong'),
    (dict(kind='ResidualVQ', dim=4, num_quantizers=2, codebook_size=8, quantize_dropout=True),
     r'`quantize_dropout=True` .*cannot be used'),
    (dict(kind='VectorQuantize', dim=4, codebook_size=8, accept_image_fmap=True),
     r'`accept_image_fmap=True` .*cannot be used'),
    (dict(kind='VectorQuantize', dim=4, codebook_size=8, channel_last=False), r'`channel_last=False` cannot be used'),
    (dict(kind='ResidualLFQ', dim=4, codebook_size=16, num_quantizers=2, spherical=True),
     r'decodes its codes to other features'),
    (dict(kind='VectorQuantize', dim=4, codebook_size=8, affine_param=True), r'decodes its codes to other features')])
def test_refused_arguments(args, message):
    with pytest.raises(InputError, match=message):
        build('VQP', **args)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'vector_quantize_pytorch', None)
    with pytest.raises(InputError, match='pip install vector-quantize-pytorch'):
        build('VQP', kind='FSQ', levels=[5, 4])


def test_encode_does_not_start_a_waiting_table():
    quantizer = build('VQP', **ZOO['VectorQuantize, k-means'])
    before, z = {k: v.clone() for k, v in quantizer.state_dict().items()}, torch.randn(4, 9, 4)
    quantizer.encode(z)
    assert quantizer.training and all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())
    quantizer(z)
    assert quantizer.inner._codebook.initted.all() and quantizer.encode(z).unique().numel() > 1


def test_auxiliary_is_the_mean_over_depths():
    quantizer, z = build('VQP', **ZOO['ResidualSimVQ']), torch.randn(2, 9, 4)
    assert torch.allclose(quantizer(z).losses['auxiliary'], quantizer.inner(z)[2].mean())
    assert build('VQP', **ZOO['ResidualFSQ'])(z[..., :3]).losses == {}


def test_config():
    quantizer = QUANTIZERS.build(resolve(load_config(HERE / 'config.py'))['quantizer'])
    assert quantizer.codebook_sizes == [1024] * 4 and quantizer.updates_in_forward


# ---- dtbox's own quantizers beside the package's: the same table in, the same codes and features out


def z_of(dim):
    z = torch.randn(3, 77, dim)
    z[0, 0] = 0
    return z


@pytest.mark.parametrize('cosine', [False, True])
def test_vq(cosine):
    theirs = package.VectorQuantize(dim=8, codebook_size=100, use_cosine_sim=cosine).eval()
    ours = build('VQ', size=100, dim=8, codebook=dict(type='EMACodebook', cosine=cosine)).eval()
    table = torch.randn(100, 8)
    theirs.codebook = torch.nn.functional.normalize(table, dim=-1) if cosine else table
    ours.codebook.weight.copy_(table)
    z = z_of(8)[:, 1:]
    out, (features, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes[..., 0], codes) and torch.allclose(out.features, features, atol=1e-6)


def test_vq_commitment():
    theirs = package.VectorQuantize(dim=8, codebook_size=100, decay=0.9)
    ours = build('VQ', size=100, dim=8)
    z = z_of(8)
    ours.codebook.weight.copy_(theirs.codebook)
    assert torch.allclose(ours(z).losses['commitment'], theirs(z)[2], atol=1e-6)


@pytest.mark.parametrize('shared', [False, True])
def test_rq(shared):
    theirs = package.ResidualVQ(dim=8, codebook_size=100, num_quantizers=3, shared_codebook=shared).eval()
    ours = build('RQ', size=100, dim=8, depth=3, shared=shared).eval()
    for depth, layer in enumerate(theirs.layers):
        if depth == 0 or not shared:
            layer.codebook = torch.randn(100, 8) / 2 ** depth
        ours.book(depth).weight.copy_(layer.codebook)
    z = z_of(8)
    out, (features, codes, _) = ours(z), theirs(z)
    assert torch.equal(out.codes, codes) and torch.allclose(out.features, features, atol=1e-6)
    assert torch.allclose(ours.decode(codes), theirs.get_output_from_indices(codes), atol=1e-6)


@pytest.mark.parametrize('levels', [[8, 8, 8, 5, 5], [5, 5, 5], [4, 3]])
def test_fsq(levels):
    theirs = package.FSQ(levels)
    ours = build('FSQ', levels=levels)
    z = z_of(len(levels)) * 2
    out, (features, codes) = ours(z), theirs(z)
    assert torch.equal(out.codes[..., 0], codes.long()) and torch.allclose(out.features, features, atol=1e-6)
    assert torch.allclose(ours.decode(out.codes), theirs.indices_to_codes(codes), atol=1e-6)
