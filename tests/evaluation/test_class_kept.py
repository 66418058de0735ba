"""What the packaged classifier sees in reconstructions, on photographs that packages bring."""
import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.evaluation import ClassKept, EvalContext
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput
from tests.photo_samples import need_weights, open_sample


@pytest.fixture(scope='module')
def photos():
    """An espresso, a tripod and a cat, [3,3,224,224]."""
    need_weights()
    return torch.cat([open_sample(name) for name in ('coffee', 'camera', 'chelsea')])


def measure(metric, images, reconstructions):
    metric.check_files()
    metric.setup(EvalContext())
    metric.process(Batch(images=images), TokenizerOutput(images=images, reconstructions=reconstructions))
    return metric


def test_classes_that_stay(photos):
    """A blurred espresso is still one, a cat in the place of the tripod is none; of the cat nothing changes."""
    small = torch.nn.functional.interpolate(photos[:1], size=112, mode='area')
    blurred = torch.nn.functional.interpolate(small, size=224, mode='bilinear')
    metric = measure(ClassKept(), photos, torch.cat([blurred, photos[2:], photos[2:]]))
    values = metric.compute()
    assert values['imagenet_top1_kept'] == values['imagenet_top5_kept'] == pytest.approx(2 / 3)
    assert metric.samples()['imagenet_top1_kept'].tolist() == [1, 0, 1]


def test_a_class_among_five():
    """Class 3 of every image is the first of two reconstructions, the second of one, and the sixth of one."""
    class Given(ClassKept):
        def classify(self, images):
            return images.flatten(1)[:, :8]
    need_weights()
    logits = [[0., 0, 0, 9, 0, 0, 0, 0], [0., 0, 1, 9, 0, 0, 0, 0], [0., 0, 0, 8, 9, 0, 0, 0],
              [5., 6, 7, 4, 9, 8, 0, 0]]
    images = torch.zeros(4, 3, 2, 2).flatten(1)
    made = images.clone()
    images[:, 3] = 1
    made[:, :8] = torch.tensor(logits)
    values = measure(Given(), images.view(4, 3, 2, 2), made.view(4, 3, 2, 2)).compute()
    assert (values['imagenet_top1_kept'], values['imagenet_top5_kept']) == (2 / 4, 3 / 4)


def test_protocol(photos, monkeypatch):
    """The protocol gives both values, the distance of 1,280 features under its own name."""
    seen = []
    monkeypatch.setattr('dtbox.evaluation.drawings.frechet_distance', lambda *moments: seen.append(moments) or 0.5)
    metrics = [METRICS.build(cfg) for cfg in resolve(load_config('protocols/photographs')).protocol.metrics.values()]
    found = {}
    for metric in metrics:
        found |= measure(metric, photos[:2], photos[:2]).compute()
    assert set(found) == {'imagenet_top1_kept', 'imagenet_top1_kept/stderr', 'imagenet_top5_kept',
                          'imagenet_top5_kept/stderr', 'frechet_tower/efficientnet-lite0/reconstruction'}
    assert found['imagenet_top1_kept'] == 1
    assert found['frechet_tower/efficientnet-lite0/reconstruction'] == 0.5
    assert [tuple(part.shape) for part in seen[0]] == [(1280,), (1280, 1280)] * 2
    assert torch.equal(seen[0][0], seen[0][2]) and float(seen[0][0].min()) >= 0  # means of ReLU6, before the classifier


def test_without_reconstructions(photos):
    metric = measure(ClassKept(), photos[:1], None)
    assert metric.compute() == {} and 'no reconstructions' in metric.skipped


@pytest.mark.parametrize('channels', [1, 4])
def test_images_of_other_channels(channels):
    images = torch.zeros(1, channels, 8, 8)
    need_weights()
    with pytest.raises(InputError, match='Turn images of one channel or four into RGB first'):
        measure(ClassKept(), images, images)
