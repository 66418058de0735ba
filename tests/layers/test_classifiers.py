"""The packaged classifier is what its file says, and files of other networks are refused."""
import importlib.util

import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.imagenet_classes import list_class_names
from dtbox.layers.classifiers import (
    LITE0,
    PACKAGED,
    build_classifier,
    fit_names,
    list_grids,
    list_widths,
    open_classifier,
    run_stages,
)
from dtbox.weights.state_dicts import load_state
from tests.photo_samples import need_weights, open_sample

STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""(blocks, stride of the first) of each stage of EfficientNet-B0 (arXiv 1905.11946, table 1), which Lite0 keeps."""


def pad_same(x, kernel, stride):
    """TensorFlow's "same": as many places as x / stride, rounded up; the odd pixel of padding after the image."""
    side = x.shape[-1]
    missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    before = missing // 2
    return F.pad(x, (before, missing - before, before, missing - before))


def compute_logits(state, x):
    """Logits by the tensors' own names in the file: no module of timm or dtbox takes part."""
    def norm(name, x):
        mean, var, weight, bias = (state[f'{name}.{key}'] for key in ('running_mean', 'running_var', 'weight', 'bias'))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    def conv(name, x, stride=1, groups=1):
        weight = state[f'{name}.weight']
        return F.conv2d(pad_same(x, weight.shape[-1], stride), weight, stride=stride, groups=groups)
    x = F.relu6(norm('_bn0', conv('_conv_stem', x, 2)))
    number = 0
    for blocks, first in STAGES:
        for i in range(blocks):
            block, given = f'_blocks.{number}', x
            if f'{block}._expand_conv.weight' in state:
                x = F.relu6(norm(f'{block}._bn0', conv(f'{block}._expand_conv', x)))
            x = conv(f'{block}._depthwise_conv', x, first if i == 0 else 1, x.shape[1])
            x = norm(f'{block}._bn2', conv(f'{block}._project_conv', F.relu6(norm(f'{block}._bn1', x))))
            x = x + given if x.shape == given.shape and i else x
            number += 1
    x = F.relu6(norm('_bn1', conv('_conv_head', x))).mean((2, 3))
    return F.linear(x, state['_fc.weight'], state['_fc.bias'])


@torch.no_grad()
def test_the_packaged_classifier_is_its_file():
    """Logits are those that the file's own names, the paper's strides and TensorFlow's padding give; an espresso is
    one."""
    need_weights()
    image = open_sample('coffee')
    logits = open_classifier(LITE0, PACKAGED)(image)
    assert torch.allclose(logits, compute_logits(load_state(PACKAGED), image), atol=1e-4)
    assert list_class_names()[int(logits.argmax())] == 'espresso' and float(logits.softmax(1).max()) > 0.9


def test_names_of_timm_in_any_order():
    """A file in timm's names needs no order."""
    model = build_classifier(LITE0)
    state = dict(reversed(model.state_dict().items()))
    assert list(fit_names(state, model, LITE0, 'a.pth')) == list(state)


@pytest.mark.parametrize('change, says', [
    (lambda items: items[:-1], 'it has 295 tensors, the network 296'),
    (lambda items: [items[0], items[2], items[1], *items[3:]], 'the first that differs is o.bn1.bias'),
    (lambda items: [('o.weight', torch.zeros(1)), *items[1:]], 'the first that differs is o.weight')])
def test_weights_of_another_network(change, says):
    """Under other names, tensors that are too few, in another order of kinds, or of another shape are refused."""
    model = build_classifier(LITE0)
    state = dict(change([(f'o.{key}', value) for key, value in model.state_dict().items()]))
    with pytest.raises(InputError, match=f'a.pth does not hold the weights of `{LITE0}`: .*{says}.*Give the weights'):
        fit_names(state, model, LITE0, 'a.pth')


def test_weights_of_another_network_of_the_family():
    """A slot for another model than the package's says so."""
    need_weights()
    with pytest.raises(InputError, match='does not hold the weights of `mobilenetv2_100`: it has 296 tensors, the '
                                         'network 314; the first that differs is '):
        open_classifier('mobilenetv2_100', PACKAGED)


def test_without_the_package(monkeypatch):
    """The sentence names the extra."""
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match=r'not installed\. Install it with: pip install "dtbox\[photos\]"$'):
        open_classifier(LITE0, PACKAGED)


def test_networks_of_another_family():
    for name, says in (('resnet18', "is timm's ResNet; expected a model of its EfficientNet family"),
                       ('tf_eficientnet_lite0', 'timm does not have a model .*Did you mean `tf_efficientnet_lite0`')):
        with pytest.raises(InputError, match=says):
            build_classifier(name)


@pytest.mark.parametrize('name', [LITE0, 'mobilenetv2_100'])
@torch.no_grad()
def test_sizes_of_the_stages(name):
    """Widths and grids are those of the maps, also of sides that no stride divides."""
    model = build_classifier(name)
    maps = [tuple(x.shape[1:]) for _, x in run_stages(model, torch.zeros(1, 3, 75, 50), range(8))]
    assert maps == [(width, *grid) for width, grid in zip(list_widths(model), list_grids(model, (75, 50)))]
    assert len(maps) == 8


@torch.no_grad()
def test_statistics_of_other_networks():
    """timm's mobilenetv2 expects ImageNet's statistics: white is (1 - mean) / std."""
    model = build_classifier('mobilenetv2_100')
    seen = []
    model.conv_stem.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    next(iter(run_stages(model, torch.ones(1, 3, 8, 8), [0])))
    wanted = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize('channels', [1, 4])
def test_images_of_other_channels(channels):
    with pytest.raises(InputError, match=r'expected \[B, 3, H, W\] in \[-1, 1\]\. Turn images of one channel or four'):
        next(iter(run_stages(build_classifier(LITE0), torch.zeros(1, channels, 8, 8), [0])))
