"""rFID and LPIPS as the reference libraries find them, on stand-in networks, and what is said where weights are
missing."""
import io
import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.errors import InputError
from dtbox.evaluation import FID, LPIPS, EvalContext, SetEvaluator
from dtbox.evaluation.dump import ImageDump, check_dump, read_dump
from dtbox.evaluation.fid import read_statistics
from dtbox.evaluation.functional import frechet_distance, ssim
from dtbox.evaluation.inception import open_inception
from dtbox.structures import Batch, TokenizerOutput


def pictures(n=6, size=48, seed=0):
    """Smooth pictures as bytes [n, 3, size, size], and them in [-1, 1]."""
    low = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    images = (
        torch.nn.functional.interpolate(low, size=(size, size), mode='bicubic')
        .clamp(0, 1)
        .mul(255)
        .round()
        .to(torch.uint8)
    )
    return images, images.float().div(127.5).sub(1)


class StandIn(torch.nn.Module):
    """What clean-fid needs of NVIDIA's TorchScript Inception."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(192, 2048))

    def forward(self, x):
        """Unused."""
        return self.layers(x)


@pytest.fixture(scope='module')
def clean_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('clean') / 'inception-2015-12-05.pt'
    torch.jit.script(StandIn()).save(str(path))
    return str(path)


def test_features_are_those_of_clean_fid(clean_weights, tmp_path):
    from cleanfid.fid import get_folder_features
    from cleanfid.inception_torchscript import InceptionV3W
    images, _ = pictures()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f'{i}.png')
    network = InceptionV3W(os.path.dirname(clean_weights), download=False, resize_inside=False)
    wanted = get_folder_features(str(tmp_path), model=network, num_workers=0, device=torch.device('cpu'), mode='clean',
                                 verbose=False)
    found = open_inception('clean-fid', clean_weights)(images).numpy()
    assert found.shape == (6, 2048) and np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.fixture(scope='module')
def fidelity_weights(tmp_path_factory):
    """Random weights in torch-fidelity's layout."""
    from torch_fidelity import feature_extractor_inceptionv3 as module
    path = str(tmp_path_factory.mktemp('fidelity') / 'weights.pth')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'load_state_dict_from_url', lambda *a, **k: {})
        patch.setattr(module.FeatureExtractorInceptionV3, 'load_state_dict', lambda self, state: None)
        torch.manual_seed(0)
        torch.save(module.FeatureExtractorInceptionV3('inception-v3-compat', ['2048']).state_dict(), path)
    return path


def test_features_are_those_of_torch_fidelity(fidelity_weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    images, _ = pictures(2)
    wanted = FeatureExtractorInceptionV3('inception-v3-compat', ['2048'], fidelity_weights)(images)[0]
    assert torch.allclose(open_inception('torch-fidelity', fidelity_weights)(images), wanted,
                          atol=1e-5) and wanted.std() > 0


def test_the_distance_is_that_of_the_libraries():
    from cleanfid.fid import frechet_distance as clean
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    rng = torch.Generator().manual_seed(1)
    sides = [torch.randn(300, 24, generator=rng) @ torch.randn(24, 24, generator=rng) + shift for shift in (0, 0.4)]
    stats = [fid_features_to_statistics(s.double()) for s in sides]
    ours = frechet_distance(*(torch.from_numpy(stats[i][k]) for i in (0, 1) for k in ('mu', 'sigma')))
    assert ours == pytest.approx(clean(stats[0]['mu'], stats[0]['sigma'], stats[1]['mu'], stats[1]['sigma']), rel=1e-6)
    assert ours == pytest.approx(fid_statistics_to_metric(*stats, verbose=False)['frechet_inception_distance'],
                                 rel=1e-6)


class Small:
    """A network of few features, so that distances are quick."""

    def __init__(self):
        self.weights = torch.randn(192, 5, generator=torch.Generator().manual_seed(2))

    def __call__(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 8).flatten(1) @ self.weights


def measured(metric, *parts):
    """Run a metric over (images, reconstructions) in [-1, 1]."""
    metric.setup(EvalContext())
    for images, made in parts:
        metric.process(Batch(images=images), TokenizerOutput(images=images, reconstructions=made))
    return metric


def small_fid(**options):
    """An FID whose network is `Small`."""
    metric = FID(**options)
    setup = metric.setup

    def with_network(context):
        setup(context)
        metric.shared.update(network=Small(), reference=read_statistics(metric.reference) if metric.reference else None)
    metric.setup = with_network
    return metric


def test_streamed_statistics_are_those_of_all_features(tmp_path):
    images, real = pictures(30)
    made = (real * 0.8 + 0.1).clamp(-1, 1)
    found = measured(small_fid(), (real[:7], made[:7]), (real[7:], made[7:])).compute()['rfid']
    features = [Small()(x).double() for x in (images, ((made + 1) * 127.5).round().to(torch.uint8))]
    # the sums are float64, but the features are float32 from batches of another size: each differs by about 1e-7 of
    # itself
    assert found == pytest.approx(frechet_distance(*(v for f in features for v in (f.mean(0), f.T.cov()))),
                                  rel=1e-6) and found > 1
    np.savez(tmp_path / 'ref.npz', mu=features[0].mean(0).numpy(), sigma=features[0].T.cov().numpy())
    metric = small_fid(against='statistics', reference=str(tmp_path / 'ref.npz'))
    assert measured(metric, (real, made)).compute()['rfid'] == pytest.approx(found, rel=1e-6)


def test_pictures_are_written_as_the_protocol_says():
    images, real = pictures(2)
    assert torch.equal(FID().bytes(real), images) and torch.equal(FID(written='png').bytes(real + 0.4 / 127.5), images)
    import cv2
    jpeg = FID(written='jpeg').bytes(real)
    for found, image in zip(jpeg, images):
        file = cv2.imencode('.jpg', image.permute(1, 2, 0).numpy()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        wanted = np.asarray(Image.open(io.BytesIO(file.tobytes())))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), wanted)
    cut = FID(written='jpeg')
    cut._written = lambda image: image
    # truncated, not rounded
    assert torch.equal(cut.bytes(real + 0.9 / 127.5), (images.int()).clamp(max=255).to(torch.uint8))
    small = FID(size=24).bytes(real)
    assert small.shape == (2, 3, 24, 24)
    wanted = Image.fromarray(images[0].permute(1, 2, 0).numpy()).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.array_equal(small[0].permute(1, 2, 0).numpy(), np.asarray(wanted))


@pytest.mark.parametrize('options', [{}, dict(written='jpeg'), dict(size=24), dict(against='statistics')])
def test_the_dump_holds_what_the_network_got(options, tmp_path):
    """Images that are read again give the very features: bit for bit those that went into the statistics."""
    if 'against' in options:
        np.savez(tmp_path / 'ref.npz', mu=np.zeros(5), sigma=np.eye(5))
        options = dict(options, reference=str(tmp_path / 'ref.npz'))
    _, real = pictures(5)
    made, metric = (real * 0.8 + 0.1).clamp(-1, 1), small_fid(prefix='mine', **options)
    metric.setup(EvalContext(dump=str(tmp_path / 'dump')))
    features = []
    network = metric.shared['network']
    metric.shared['network'] = lambda images: features.append(network(images)) or features[-1]
    for start, stop, part in ((0, 2, 'a'), (2, 5, 'b')):
        batch = Batch(images=real[start:stop], sets=[part] * (stop - start),
                      keys=[f'clip/{i}' for i in range(start, stop)])
        metric.process(batch, [TokenizerOutput(images=real[start:stop], reconstructions=made[start:stop])])
    folder = tmp_path / 'dump' / 'mine' / 'FID'
    assert sorted(os.listdir(folder / 'b' / 'source')) == [f'{i:05d}_clip-{i + 2}.png' for i in range(3)]
    for part in ('b', 'a'):
        again = [network(read_dump(folder / part / side)) for side in ('source', 'reconstruction')]
        assert torch.equal(features.pop(), again[1]) and ('against' in options or torch.equal(features.pop(), again[0]))
    assert not features


def test_an_image_of_a_dump_is_whole_or_not_there(tmp_path, monkeypatch):
    _, real = pictures(1)

    def write_half(image, path, **_):
        with open(path, 'w') as file:
            file.write('half')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Image.Image, 'save', write_half)
    with pytest.raises(OSError):
        ImageDump(str(tmp_path)).write(None, None, real.byte(), real.byte())
    assert os.listdir(tmp_path / 'heldout' / 'source') == []


def test_a_dump_needs_no_weights_and_a_new_folder(tmp_path):
    _, real = pictures(2)
    metric = FID()
    metric.setup(EvalContext(dump=str(tmp_path / 'dump')))
    metric.process(Batch(images=real), TokenizerOutput(images=real, reconstructions=real))
    assert torch.equal(*(read_dump(tmp_path / 'dump' / 'FID' / 'heldout' / side)
                         for side in ('source', 'reconstruction')))
    assert metric.compute() == {} and 'are not given' in metric.skipped
    check_dump(str(tmp_path / 'new'), [metric])
    check_dump(None, [])
    with pytest.raises(InputError, match='is not a new or empty folder'):
        check_dump(str(tmp_path / 'dump'), [metric])
    with pytest.raises(InputError, match='none of the metrics writes the images'):
        check_dump(str(tmp_path / 'new'), [LPIPS()])


@pytest.mark.parametrize('library, file', [
     ('clean-fid', 'inception-2015-12-05.pt'), ('torch-fidelity', 'weights-inception-2015-12-05')])
def test_missing_weights_say_which_file_belongs_there(library, file, tmp_path):
    _, real = pictures(3)
    for weights, says in (
        (None, 'are not given'),
        (__file__, 'does not hold the Inception'),
    ):
        metric = measured(FID(library, weights), (real, real))
        assert metric.compute() == {}
        assert says in metric.skipped
        assert file in metric.skipped
        assert 'https://' in metric.skipped
    metric = measured(LPIPS(), (real, real))
    assert metric.compute() == {} and 'alexnet-owt-7be5be79.pth' in metric.skipped


@pytest.mark.parametrize('config, says', [
     (dict(type='FID', weights='none.pt'), "weights of clean-fid's Inception, none.pt, do not exist. Fetch https://"),
     (dict(type='FID', library='torch-fidelity', weights='none.pt'), "weights of torch-fidelity's Inception, none.pt"),
     (dict(type='FID', against='statistics', reference='none.npz'), 'the statistics none.npz do not exist'),
     (dict(type='LPIPS', weights='none.pth'), 'alex weights of LPIPS, none.pth, do not exist. Fetch https://')])
def test_files_that_do_not_exist_end_it_first(config, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f'metrics.score.*{re.escape(says)}') as e:
        SetEvaluator(dict(score=config))
    assert e.value.where.endswith(('score.weights', 'score.reference'))


@pytest.mark.parametrize('options, says', [
     (dict(reference='a.npz'), "`against` is 'images' with reference='a.npz'"),
     (dict(against='pictures'), "is now called 'images'"),
     (dict(library='tf'), "`library` is 'tf'; expected one of clean-fid, torch-fidelity"),
     (dict(written='webp'), "`written` is 'webp'")])
def test_options(options, says):
    with pytest.raises(InputError, match=says):
        FID(**options)


def test_statistics_that_are_something_else(tmp_path):
    np.savez(tmp_path / 'a.npz', arr_0=np.zeros(3))
    np.savez(tmp_path / 'b.npz', mu=np.zeros(3), sigma=np.zeros((2, 2)))
    (tmp_path / 'c.npz').write_text('no')
    for name, says in (
        ('a', 'holds arr_0; expected `mu` and `sigma`'),
        ('b', 'has the shape'),
        ('c', 'cannot be read'),
        ('d', 'cannot be read'),
    ):
        with pytest.raises(InputError, match=says):
            read_statistics(tmp_path / f'{name}.npz')


def test_lpips_is_that_of_the_package(tmp_path):
    import lpips
    import torchvision
    torch.manual_seed(0)
    trunk = torchvision.models.alexnet(weights=None)
    torch.save(trunk.state_dict(), tmp_path / 'alex.pth')
    package = lpips.LPIPS(net='alex', pretrained=True, pnet_rand=True, verbose=False).eval()
    package.net.load_state_dict({k: trunk.state_dict()['features.' + k.split('.', 1)[1]]
                                 for k in package.net.state_dict()})
    _, real = pictures(3, 64)
    made = (real * 0.7).roll(2, -1)
    metric = measured(LPIPS('alex', str(tmp_path / 'alex.pth')), (real, made))
    with torch.no_grad():
        wanted = package(made, real).flatten()
    assert metric.compute()['lpips'] == pytest.approx(wanted.mean().item(), rel=1e-4)
    assert torch.allclose(torch.from_numpy(metric.samples()['lpips']).float(), wanted, rtol=1e-4)


def test_ssim_is_that_of_pytorch_msssim():
    from pytorch_msssim import ssim as package
    _, real = pictures(4, 64)
    x, y = (real + 1) / 2, ((real * 0.7).roll(1, -2) + 1) / 2
    assert torch.allclose(ssim(x, y).float(), package(x, y, data_range=1, size_average=False), atol=1e-5)


def test_values_outside_the_range_are_clamped():
    """Reconstructions beyond [-1, 1] become 0 and 255; they do not wrap around."""
    images = torch.tensor([-1.2, -1.0, 1.0, 1.3]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    for written in ('png', 'jpeg'):
        metric = FID(written=written)
        metric._written = lambda image: image  # the levels before JPEG
        assert metric.bytes(images)[0, 0, 0].tolist() == [0, 0, 255, 255]


def test_images_that_are_not_there():
    """A sample without an image has NaN in its place, which is no byte."""
    images = torch.zeros(2, 3, 4, 4)
    images[1] = float('nan')
    for written in ('png', 'jpeg'):
        with pytest.raises(InputError, match='the images hold NaN; expected samples with an image each'):
            FID(written=written).bytes(images)


def test_lpips_is_not_clamped(tmp_path):
    """A reconstruction beyond [-1, 1] is farther than the same one clamped."""
    seen = []
    metric = LPIPS()
    metric.shared = dict(network=None)
    images = torch.full((1, 3, 64, 64), 0.9)
    outputs = TokenizerOutput(images=images, reconstructions=images + 0.5)
    import dtbox.evaluation.pixels as module
    before, module.lpips = module.lpips, lambda network, a, b: seen.append((a, b)) or torch.zeros(1)
    try:
        metric.score(outputs)
    finally:
        module.lpips = before
    assert seen[0][0].max().item() == pytest.approx(1.4) and torch.equal(seen[0][1], images)
