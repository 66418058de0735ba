"""A classifier's stages as the layers of an encoder."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.layers.classifiers import LITE0, PACKAGED, build_classifier
from dtbox.registry import ENCODERS
from tests.photo_samples import need_weights


def build(**args):
    torch.manual_seed(1)
    return ENCODERS.build({'type': 'StagedClassifier', 'image_size': 64, **args}).eval()


@torch.no_grad()
def test_pools_are_those_of_the_network():
    """Stage by stage the features and logits of timm's own forward come out."""
    encoder = build(pooled='logits')
    model = build_classifier(LITE0)
    model.load_state_dict(encoder.trunk.state_dict())
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    assert torch.allclose(encoder.pool(encoder.run(encoder.embed(x), 0, 7)[0]), model(x), atol=1e-5)
    features = build()
    features.trunk.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith('classifier')})
    pooled = features.pool(features.run(features.embed(x), 0, 7)[0])
    assert torch.allclose(pooled, model.forward_head(model.forward_features(x), pre_logits=True), atol=1e-5)
    assert (encoder.pooled_dim, features.pooled_dim) == (1000, 1280)


def test_sizes():
    """Images of 64 pixels at 224: the grids are those of 224 pixels."""
    encoder = build(input_size=224)
    assert [encoder.grid(layer) for layer in (0, 3, 6, 7)] == [(112, 112), (28, 28), (7, 7), (7, 7)]
    assert [encoder.width(layer) for layer in range(8)] == [32, 16, 24, 40, 80, 112, 192, 320]
    assert encoder.embed(torch.zeros(1, 3, 64, 64)).shape == (1, 112 * 112, 32)


def test_norms_stay_as_in_the_file():
    """A training pass moves no statistic."""
    encoder = build().train()
    before = {k: v.clone() for k, v in encoder.named_buffers()}
    encoder.run(encoder.embed(torch.rand(2, 3, 64, 64)), 0, 7)
    assert encoder.training and all(torch.equal(v, before[k]) for k, v in encoder.named_buffers())


def test_weights_without_the_classes():
    """The file holds a classifier; features need none of it."""
    need_weights()
    encoder = build(weights=PACKAGED)
    encoder.init_weights()
    assert encoder.trunk.conv_stem.weight.abs().sum() > 0 and not hasattr(encoder.trunk.classifier, 'weight')
    assert abs(float(encoder.trunk.bn1.running_var.mean()) - 1) > 0.1


def test_a_pool_that_is_not_there():
    with pytest.raises(InputError, match="`pooled` is 'classes'; expected one of features, logits"):
        build(pooled='classes')
