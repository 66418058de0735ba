"""The discriminator on frozen features: tokens as timm gives them, heads by hand, what is saved and what moves."""
import copy

import pytest
import timm
import torch
import torch.nn.functional as F

from dtbox.discriminators.features import FeatureDiscriminator, make_head
from dtbox.errors import InputError
from dtbox.registry import DISCRIMINATORS

EXAMPLE = FeatureDiscriminator.example


def build(**changes):
    torch.manual_seed(0)
    return DISCRIMINATORS.build({**EXAMPLE, 'type': 'FeatureDiscriminator', **changes})


def test_features_are_timms(tmp_path):
    """Layer 0 is the embedding with positions; the class token is added to each patch token; inputs are timm's."""
    torch.manual_seed(1)
    theirs = timm.create_model(EXAMPLE['name'], img_size=32, num_classes=0, **EXAMPLE['model_args']).eval()
    torch.save(theirs.state_dict(), tmp_path / 'trunk.pth')
    discriminator = build(weights=str(tmp_path / 'trunk.pth'))
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    mean, std = (torch.tensor(theirs.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ('mean', 'std'))
    x = theirs._pos_embed(theirs.patch_embed((images / 2 + 0.5 - mean) / std))
    first, second = discriminator.features(images)
    assert torch.allclose(first, (x[:, 1:] + x[:, :1]).mT, atol=1e-6)
    for block in theirs.blocks:
        x = block(x)
    assert torch.allclose(second, (x[:, 1:] + x[:, :1]).mT, atol=1e-5)


def test_positions_are_resized(tmp_path):
    """A file of another image size fits: its positions are resized."""
    theirs = timm.create_model(EXAMPLE['name'], img_size=48, num_classes=0, **EXAMPLE['model_args'])
    torch.save({f'trunk.{k}': v for k, v in theirs.state_dict().items()}, tmp_path / 'trunk.pth')
    trunk = build(weights=str(tmp_path / 'trunk.pth'), prefix='trunk.')._trunk[0]
    assert trunk.pos_embed.shape == (1, 5, 32)
    assert torch.equal(trunk.blocks[1].mlp.fc1.weight, theirs.blocks[1].mlp.fc1.weight)


def test_head_by_hand():
    """conv 1, group norm, leaky relu; the same with kernel 3 around the circle, residual over sqrt(2); conv 1."""
    torch.manual_seed(0)
    head, x = make_head(32, 3, spectral=False), torch.randn(2, 32, 5)
    branch, last = head[1].branch, head[2]
    y = F.leaky_relu(F.group_norm(head[0][0](x), 32, eps=1e-6), 0.2)
    around = torch.cat([y[:, :, -1:], y, y[:, :, :1]], 2)
    z = F.group_norm(F.conv1d(around, branch[0].weight, branch[0].bias), 32, eps=1e-6)
    want = last((F.leaky_relu(z, 0.2) + y) / 2 ** 0.5)
    assert torch.allclose(head(x), want, atol=1e-6)
    assert head(x).shape == (2, 1, 5)


def test_spectral_norm():
    """After some passes the largest singular value of each convolution is 1."""
    head, x = make_head(32, 3, spectral=True), torch.randn(2, 32, 5)
    for _ in range(30):
        head(x)
    for conv in (head[0][0], head[1].branch[0], head[2]):
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)


def test_trunk_is_frozen_and_not_saved():
    """Heads alone are parameters and state; all of them learn, and images get a gradient through the trunk."""
    discriminator, images = build(), torch.rand(2, 3, 32, 32, requires_grad=True)
    logits = discriminator(images)
    assert logits.shape == (2, 8)
    (logits * torch.randn(2, 8)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in discriminator.parameters())
    assert images.grad.abs().sum((1, 2, 3)).min() > 0
    assert all(name.startswith('heads.') for name in discriminator.state_dict())
    trunk = discriminator._trunk[0]
    assert not any(p.requires_grad for p in trunk.parameters())
    assert not discriminator.train()._trunk[0].training
    assert torch.equal(trunk.pos_embed, build()._trunk[0].pos_embed)
    assert copy.deepcopy(discriminator).double()._trunk[0].pos_embed.dtype == torch.float64


def test_the_generators_pass_leaves_state():
    """Power iterations are made only in passes of which the heads learn."""
    discriminator, images = build().train(), torch.rand(1, 3, 32, 32)
    def states(): return {k: v.clone() for k, v in discriminator.state_dict().items()}
    before = states()
    discriminator.requires_grad_(False)(images)
    assert all(torch.equal(v, before[k]) for k, v in states().items())
    discriminator.requires_grad_(True)(images)
    assert not all(torch.equal(v, before[k]) for k, v in states().items())


def test_sizes_of_images(monkeypatch):
    """Larger images are cropped or resized by areas, smaller ones bicubically, equal ones stay."""
    x = torch.rand(1, 3, 64, 48) * 2 - 1
    plain = dict(mean=[0.5] * 3, std=[0.5] * 3)
    resized = build(crop=0.0, **plain).fit(x)
    assert torch.allclose(resized, F.interpolate(x, (32, 32), mode='area'), atol=1e-6)
    cropped = build(crop=1.0, **plain).fit(x)
    places = x.unfold(2, 32, 1).unfold(3, 32, 1)
    assert ((places - cropped[:, :, None, None]).abs().amax((0, 1, 4, 5)) < 1e-6).sum() == 1
    small = build(**plain).fit(x[:, :, :16, :16])
    assert torch.allclose(small, F.interpolate(x[:, :, :16, :16], (32, 32), mode='bicubic'), atol=1e-5)
    assert torch.allclose(build(**plain).fit(x[:, :, :32, :32]), x[:, :, :32, :32], atol=1e-6)


@pytest.mark.parametrize('change, says', [
    (dict(layers=(0, 3)), r'expected some of 0 to 2'), (dict(layers=()), 'expected some of'),
    (dict(kernel=4), 'an odd kernel'), (dict(weights='/no/file.pth'), 'does not exist'),
    (dict(name='vit_tiny_patch16_22'), 'timm does not have a model'),
    (dict(name='resnet18', model_args={}), 'timm|blocks'),
    (dict(model_args=dict(embed_dim=48, depth=2, num_heads=2)), 'a multiple of 32')])
def test_refused(change, says):
    with pytest.raises(InputError, match=says):
        build(**change)
