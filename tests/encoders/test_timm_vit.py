"""TimmViT: names, sizes and weights files."""
import pytest
import torch
from safetensors.torch import save_file

from dtbox.errors import InputError
from dtbox.registry import ENCODERS
from tests.encoders.conftest import SMALL


def vit(**args):
    return ENCODERS.build(dict(dict(type='TimmViT', name='vit_tiny_patch16_224', image_size=32, model_args=SMALL),
                               **args))


@pytest.mark.parametrize('suffix, prefix', [('safetensors', ''), ('pt', ''), ('pt', 'encoders.trunk.trunk.')])
def test_weights_from_a_file(tmp_path, suffix, prefix):
    source, path = vit(), str(tmp_path / f'w.{suffix}')
    state = {prefix + k: v for k, v in source.trunk.state_dict().items()}
    if prefix:
        state['text.tower.weight'] = torch.ones(1)  # the file of a whole tokenizer
    save_file(state, path) if suffix == 'safetensors' else torch.save(state, path)
    encoder = vit(weights=path, prefix=prefix)
    assert not torch.equal(encoder.trunk.pos_embed, source.trunk.pos_embed)  # nothing is read before it is asked for
    encoder.init_weights()
    assert all(torch.equal(v, encoder.trunk.state_dict()[k]) for k, v in source.trunk.state_dict().items())


def test_weights_that_do_not_fit(tmp_path):
    path = str(tmp_path / 'w.pt')
    torch.save(vit(image_size=48, model_args=dict(SMALL, depth=2)).trunk.state_dict(), path)
    with pytest.raises(InputError) as e:
        vit(weights=path).init_weights()
    assert 'w.pt does not match VisionTransformer' in str(e.value) and '12 missing: blocks.2.' in str(e.value)
    assert 'pos_embed: (1, 10, 32) in the file, (1, 5, 32) in the model' in str(e.value)
    with pytest.raises(InputError, match='missing: cls_token'):
        vit(weights=path, prefix='no.such.prefix.').init_weights()
    with pytest.raises(InputError, match='does not exist'):
        vit(weights=str(tmp_path / 'gone.pt')).init_weights()
    assert vit().init_weights() is None


def test_weights_of_another_size(tmp_path):
    path, source = str(tmp_path / 'w.pt'), vit(image_size=32, model_args=dict(SMALL, patch_size=8))
    torch.save(source.trunk.state_dict(), path)
    args = dict(weights=path, image_size=96, model_args=dict(SMALL, patch_size=16))
    with pytest.raises(InputError, match='2 wrong shape: pos_embed: .*resample'):
        vit(**args).init_weights()
    encoder = vit(resample=True, **args)
    encoder.init_weights()
    # larger kernels see in a flat picture what the smaller ones saw (FlexiViT)
    seen = [e.trunk.patch_embed(torch.full((1, 3, *e.image_size), 0.7))[0, 0] for e in (source, encoder)]
    torch.testing.assert_close(*seen, atol=1e-4, rtol=1e-3)
    assert torch.equal(encoder.trunk.pos_embed[:, 0], source.trunk.pos_embed[:, 0])
    assert encoder.trunk.pos_embed.shape == (1, 37, 32)
    torch.testing.assert_close(encoder.trunk.pos_embed[0, 1:].mean(0), source.trunk.pos_embed[0, 1:].mean(0), atol=0.02,
                               rtol=0)
    assert torch.equal(encoder.trunk.blocks[2].mlp.fc1.weight, source.trunk.blocks[2].mlp.fc1.weight)
    same = vit(weights=path, resample=True, model_args=dict(SMALL, patch_size=8))
    same.init_weights()
    assert all(torch.equal(v, same.trunk.state_dict()[k]) for k, v in source.trunk.state_dict().items())


@pytest.mark.parametrize('args, says', [
    (dict(name='vit_tny_patch16_224'),
     r'timm does not have a model `vit_tny_patch16_224`\. Did you mean `vit_tiny_patch16_224`'),
    (dict(name='mobilevit_xxs', model_args=None), r'ByobNet is not a plain vision transformer'),
    (dict(name='resnet18', model_args=None), r'timm cannot build `resnet18`'),
    (dict(model_args=dict(SMALL, num_heads=5)), r'timm cannot build `vit_tiny_patch16_224` for images of 32 x 32 with'),
    (dict(model_args=dict(wings=2)), r'timm cannot build .*wings'),
    (dict(image_size=8), r'images of 8 x 8 pixels are smaller than one patch'),
    (dict(image_size=(64, 12)), r'images of 64 x 12 pixels are smaller than one patch'),
    (dict(image_size=0), r'`image_size` is 0; expected a positive number'),
    (dict(image_size='64'), r"`image_size` is '64'; expected"),
    (dict(image_size=[64, 64, 3]), r'`image_size` is \[64, 64, 3\]'),
    (dict(weigths='x'), r'takes no argument `weigths`\. Did you mean `weights`')])
def test_what_cannot_be_built(args, says):
    with pytest.raises(InputError, match=says):
        vit(**args)


def test_classifier_is_left_out():
    encoder = vit()
    assert encoder.pooled_dim == 32 and not any('head.' in n for n, _ in encoder.named_parameters())


def test_statistics_of_the_images():
    """Images in [-1, 1] arrive with the mean and deviation that the weights expect; by default as they are."""
    plain, encoder = vit(), vit(mean=[.5, .25, .5], std=[.5, .25, 1.])
    encoder.trunk.load_state_dict(plain.trunk.state_dict())
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    # in [0, 1]: (x + 1) / 2
    want = torch.stack([x[:, 0], ((x[:, 1] + 1) / 2 - .25) / .25, x[:, 2] / 2], 1)
    assert torch.allclose(encoder.embed(x), plain.embed(want), atol=1e-5) and not plain.rescale
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    with pytest.raises(InputError, match='^mean: `mean` is .* those of `std` positive'):
        vit(std=[.5, .5, 0.])
