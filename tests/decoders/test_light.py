"""The decoders for the CPU: shapes, pixel order, what they refuse, and one contract for every registered decoder."""
import pytest
import torch

from dtbox.decoders.base import Decoder
from dtbox.decoders.light import LightCNNDecoder, ViTDecoder, paint
from dtbox.errors import InputError
from dtbox.layout import Grid
from dtbox.registry import DECODERS

SMALL = dict(CNNDecoder=dict(channels=32, multipliers=(1, 1, 2), blocks=1, latent_channels=32),
             ViTDecoder=dict(width=32, depth=2, heads=2, refine_channels=4), LightCNNDecoder=dict(width=32, blocks=1))


def build(kind, **sizes):
    sizes = {**dict(in_dim=32, layout=Grid(4, 4), image_size=16), **sizes}
    return DECODERS.build(dict(type=kind, **SMALL[kind]), **sizes)


@pytest.mark.parametrize('kind', SMALL)
@pytest.mark.parametrize('grid, latent_size', [((4, 4), None), ((5, 5), (4, 4)), ((3, 5), 4)])
def test_contract(kind, grid, latent_size):
    torch.manual_seed(0)
    decoder = build(kind, layout=Grid(*grid), latent_size=latent_size)
    assert isinstance(decoder, Decoder) and any(decoder.last_layer is p for p in decoder.parameters())
    features = torch.randn(2, grid[0] * grid[1], 32, requires_grad=True)
    images = decoder(features)
    assert images.shape == (2, 3, 16, 16) and images.dtype == torch.float32
    images.square().mean().backward()
    assert features.grad.abs().sum() > 0
    assert all(p.grad is not None for p in decoder.parameters())
    decoder.eval()
    with torch.no_grad():
        assert torch.allclose(decoder(features)[1:], decoder(features[1:]), atol=1e-5)


@pytest.mark.parametrize('kind', ['ViTDecoder', 'LightCNNDecoder'])
@pytest.mark.parametrize('token, corner', [(0, (0, 0)), (3, (0, 1)), (12, (1, 0)), (15, (1, 1))])
def test_a_token_paints_its_own_corner_most(kind, token, corner):
    torch.manual_seed(0)
    decoder = build(kind).eval()
    features = torch.randn(1, 16, 32)
    other = features.clone()
    other[0, token] = torch.randn(32) * 3
    with torch.no_grad():
        change = (decoder(other) - decoder(features)).square().sum(1)[0]
    quarters = change.reshape(2, 8, 2, 8).sum((1, 3))
    assert divmod(int(quarters.argmax()), 2) == corner


@pytest.mark.parametrize('kind', ['ViTDecoder', 'LightCNNDecoder'])
def test_recomputing_changes_no_gradient(kind):
    plain, spare = build(kind), build(kind, recompute=True)
    spare.load_state_dict(plain.state_dict())
    features = torch.randn(2, 16, 32)
    for decoder in (plain, spare):
        decoder(features).square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), spare.named_parameters()):
        assert torch.allclose(a.grad, b[1].grad, atol=1e-6), name


def test_patches_need_not_be_square_nor_powers_of_two():
    decoder = ViTDecoder(8, Grid(2, 3), (10, 9), width=16, depth=1, heads=2, refine_channels=4)
    assert decoder.patch == (5, 3) and decoder(torch.randn(1, 6, 8)).shape == (1, 3, 10, 9)


def test_paint_puts_each_patch_in_its_place():
    assert paint(torch.arange(8.).reshape(1, 1, 2, 4), 2, 2).tolist() == [[[[0, 1, 4, 5], [2, 3, 6, 7]]]]
    x = torch.randn(2, 3, 4, 2 * 5 * 6)
    out = paint(x, 2, 5)
    assert out.shape == (2, 6, 6, 20) and out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out[1, 4, 3, 12], x[1, 1, 2, (1 * 5 + 2) * 6 + 4])


def test_vit_fits_an_image_without_seams():
    torch.manual_seed(0)
    decoder = ViTDecoder(16, Grid(4, 4), 16, width=32, depth=1, heads=2, refine_channels=4)
    features, image = torch.randn(4, 16, 16), torch.rand(4, 3, 4, 4).mul(2).sub(1)
    image = torch.nn.functional.interpolate(image, (16, 16), mode='bilinear')
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        error = (decoder(features) - image).square().mean()
        error.backward()
        optimizer.step()
    assert error < .01


def test_sizes_that_do_not_fit_are_refused_when_built():
    with pytest.raises(InputError, match=r'not a multiple of the latent grid \(27, 27\).*`image_size` \(378, 378\)'):
        ViTDecoder(32, Grid(27, 27), 384)
    assert ViTDecoder(32, Grid(27, 27), 384, depth=0, latent_size=24).patch == (16, 16)
    with pytest.raises(InputError, match='does not divide into 3 heads'):
        ViTDecoder(32, Grid(4, 4), 16, width=32, heads=3)
    with pytest.raises(InputError, match=r'makes images of \(40, 40\), but `image_size` is \(70, 70\)'):
        LightCNNDecoder(32, Grid(5, 5), 70)
    with pytest.raises(InputError, match=r'doubled 2 times \(2 stages\)'):
        LightCNNDecoder(32, Grid(4, 4), 32, channels=(16, 16))
    with pytest.raises(InputError, match='multiple of 32'):
        LightCNNDecoder(32, Grid(4, 4), 32, width=40)


def test_light_cnn_finds_its_stages_from_the_sizes():
    decoder = LightCNNDecoder(32, Grid(4, 4), 64, width=64)
    assert [s.refine.out_channels for s in decoder.stages] == [32, 16, 12, 12]
