"""OpenCLIPTower: names, statistics and weights files."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import ENCODERS

HALF = (0.5, 0.5, 0.5)


def tower(name, mean=HALF, std=HALF, **args):
    return ENCODERS.build(dict(type='OpenCLIPTower', name=name, mean=mean, std=std, **args))


@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('whole', [True, False])
def test_weights_of_the_whole_model_or_of_the_tower(tiny_clip, tmp_path, which, whole):
    import open_clip
    model = open_clip.create_model(tiny_clip[which])
    torch.save((model if whole else model.visual).state_dict(), tmp_path / 'w.pt')
    encoder = tower(tiny_clip[which], weights=str(tmp_path / 'w.pt')).eval()
    encoder.init_weights()
    x = torch.randn(2, 3, *encoder.image_size)
    with torch.no_grad():
        tokens, _ = encoder.run(encoder.embed(x), 0, encoder.depth)
        assert torch.allclose(encoder.pool(tokens), model.eval().encode_image(x), atol=1e-5)


def test_weights_of_another_model(tiny_clip, tmp_path):
    torch.save(tower(tiny_clip[0]).visual.state_dict(), tmp_path / 'w.pt')
    with pytest.raises(InputError, match=r'w\.pt does not match TimmModel\. \d+ missing: .*left over: '):
        tower(tiny_clip[1], weights=str(tmp_path / 'w.pt')).init_weights()


def test_statistics_of_the_model(tiny_clip):
    """Images in [-1, 1] reach the tower as it was trained: (x / 2 + 1/2 - mean) / std."""
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    plain, own = tower(tiny_clip[0]), tower(tiny_clip[0], mean=mean, std=std)
    own.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    want = ((x + 1) / 2 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        assert torch.allclose(own.embed(x), plain.embed(want), atol=1e-5)
        assert torch.equal(plain.embed(x), plain.stages.embed(x))


def test_statistics_by_default():
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    from dtbox.encoders.open_clip_tower import get_statistics
    assert get_statistics('ViT-B-16-SigLIP2-256') == (HALF, HALF)
    assert get_statistics('ViT-B-32') == (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def test_pretrained_weights_of_timm_are_not_fetched(tiny_clip, monkeypatch):
    """Also where the model's config asks for them: `weights` alone says what is loaded."""
    import timm

    from dtbox.encoders import open_clip_tower
    config = open_clip_tower.get_model_config(tiny_clip[1])
    config['vision_cfg'] = {**config['vision_cfg'], 'timm_model_pretrained': True}
    create, asked = timm.create_model, []

    def record(*args, pretrained=False, **kwargs):
        asked.append(pretrained)
        return create(*args, pretrained=False, **kwargs)

    monkeypatch.setattr(open_clip_tower, 'get_model_config', lambda name: config)
    monkeypatch.setattr(timm, 'create_model', record)
    tower(tiny_clip[1], image_size=32)
    assert asked and not any(asked)


def test_image_size(tiny_clip):
    encoder = tower(tiny_clip[0], image_size=(16, 40))
    assert encoder.grid(1) == (2, 5)
    assert encoder.image_size == (16, 40)
    assert encoder.embed(torch.zeros(1, 3, 16, 40)).shape == (1, 11, 32)
    assert tower(tiny_clip[0]).image_size == (32, 32) and tower(tiny_clip[1]).image_size == (160, 160)
    encoder = tower(tiny_clip[1], image_size=(32, 48))  # a timm trunk follows too
    assert encoder.grid(1) == (2, 3) and encoder.image_size == (32, 48)
    tokens, _ = encoder.run(encoder.embed(torch.zeros(1, 3, 32, 48)), 0, encoder.depth)
    assert encoder.pool(tokens).shape == (1, 16) and tokens.shape[1] == 7


def test_parameters_are_there_once(tiny_clip):
    """The stages share the tower's modules: no second name for them, also after a change of mode and type."""
    for name in tiny_clip:
        encoder = tower(name, image_size=32, recompute=True)
        assert all(k.startswith('visual.') for k in encoder.state_dict())
        assert encoder.eval().stages.training is False and encoder.train().stages.training is True
        assert next(encoder.to(torch.bfloat16).parameters()).dtype == torch.bfloat16
        assert encoder.embed(torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize('name, size, says', [
    ('ViT-B-33', None, r'open_clip does not have a model `ViT-B-33`\. Did you mean `ViT-B-32`'),
    ('dtbox-resnet', None, 'is a ModifiedResNet, not a transformer'), ('dtbox-own', 4, 'smaller than one patch'),
    ('dtbox-timm', 8, 'smaller than one patch'),
    ('dtbox-own', -3, '`image_size` is -3')])
def test_what_cannot_be_built(tiny_clip, name, size, says):
    with pytest.raises(InputError, match=says):
        tower(name, image_size=size)
