"""LPIPS against the formula written out, on a seeded trunk of VGG16's shape that the test makes and saves."""
import os
import sys

import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.losses.lpips import LPIPSLoss
from dtbox.structures import TokenizerOutput

lpips = pytest.importorskip('lpips')
CONVS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256),
         17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)}
POOLS, TAPS = (4, 9, 16, 23), (3, 8, 15, 22, 29)


@pytest.fixture(scope='module')
def trunk():
    rng = torch.Generator().manual_seed(0)
    state = {}
    for index, (a, b) in CONVS.items():
        state[f'features.{index}.weight'] = torch.randn(b, a, 3, 3, generator=rng) * (2 / (9 * a)) ** .5
        state[f'features.{index}.bias'] = torch.randn(b, generator=rng) * .1
    return state


@pytest.fixture(scope='module')
def path(trunk, tmp_path_factory):
    path = tmp_path_factory.mktemp('vgg') / 'vgg16.pth'
    torch.save({**trunk, 'classifier.6.bias': torch.zeros(1000)}, path)
    return str(path)


@pytest.fixture(scope='module')
def loss(path):
    return LPIPSLoss(weights=path)


@pytest.fixture
def outputs():
    rng = torch.Generator().manual_seed(1)
    made = torch.rand(2, 3, 16, 20, generator=rng) * 2 - 1
    return TokenizerOutput(images=torch.rand(2, 3, 16, 20, generator=rng) * 2 - 1,
                           reconstructions=made.requires_grad_())


def by_hand(trunk, made, images):
    linear = torch.load(os.path.join(os.path.dirname(lpips.__file__), 'weights/v0.1/vgg.pth'), map_location='cpu',
                        weights_only=True)
    shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((-.030, -.088, -.188), (.458, .448, .450)))

    def features(x):
        x, found = (x - shift) / scale, []
        for index in range(30):
            if index in CONVS:
                x = F.conv2d(x, trunk[f'features.{index}.weight'], trunk[f'features.{index}.bias'], padding=1)
            else:
                x = F.max_pool2d(x, 2) if index in POOLS else F.relu(x)
            if index in TAPS:
                found.append(x / ((x ** 2).sum(1, keepdim=True).sqrt() + 1e-10))
        return found
    pairs = zip(features(made), features(images))
    parts = [(((a - b) ** 2) * linear[f'lin{i}.model.1.weight']).sum(1).mean((1, 2)) for i, (a, b) in enumerate(pairs)]
    return sum(parts).mean()


def test_value_is_the_formula(loss, trunk, outputs, batch):
    value = loss(outputs, batch)['lpips']
    assert value.item() == pytest.approx(by_hand(trunk, outputs.reconstructions, outputs.images).item(), rel=1e-5)
    assert value > 0
    value.backward()
    assert outputs.reconstructions.grad.isfinite().all() and outputs.reconstructions.grad.abs().sum() > 0
    same = loss(outputs.replace(reconstructions=outputs.images), batch)['lpips']
    assert same.item() == 0


def test_gradient_is_finite_on_flat_images(loss, batch):
    made = torch.ones(1, 3, 16, 16, requires_grad=True)
    loss(TokenizerOutput(images=-torch.ones(1, 3, 16, 16), reconstructions=made), batch)['lpips'].backward()
    assert made.grad.isfinite().all()


def test_network_is_frozen_and_outside_of_the_module(loss):
    assert not loss.state_dict() and not list(loss.parameters())
    network = loss.network
    assert loss.train().double() is loss
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_safetensors_file(trunk, loss, outputs, batch, tmp_path):
    from safetensors.torch import save_file
    save_file(trunk, tmp_path / 'vgg16.safetensors')
    other = LPIPSLoss(weights=str(tmp_path / 'vgg16.safetensors'))
    with torch.no_grad():
        assert torch.equal(other(outputs, batch)['lpips'], loss(outputs, batch)['lpips'])


def test_missing_weights_are_refused(tmp_path, path):
    with pytest.raises(InputError, match='needs `weights`'):
        LPIPSLoss()
    with pytest.raises(InputError, match='does not exist'):
        LPIPSLoss(weights=str(tmp_path / 'nothing.pth'))
    with pytest.raises(InputError, match='does not hold the torchvision weights of the `alex` trunk'):
        LPIPSLoss(net='alex', weights=path)
    with pytest.raises(InputError, match='Did you mean `vgg`'):
        LPIPSLoss(net='vgg16', weights=path)
    (tmp_path / 'broken.pth').write_bytes(b'PK half a file')
    with pytest.raises(InputError, match='cannot be read'):
        LPIPSLoss(weights=str(tmp_path / 'broken.pth'))


def test_tiny_images_are_refused(loss, batch):
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(InputError, match='at least 16'):
        loss(TokenizerOutput(images=images, reconstructions=images), batch)


def test_missing_package_names_the_extra(monkeypatch, path):
    monkeypatch.setitem(sys.modules, 'lpips', None)
    with pytest.raises(InputError, match=r'pip install "dtbox\[lpips\]"'):
        LPIPSLoss(weights=path)
