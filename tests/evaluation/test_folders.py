"""Frechet distances of two folders: equal to clean-fid's of the same folders, and to hand-made Gaussians."""
import os

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.errors import InputError
from dtbox.evaluation import FID, PSNR, EvalContext, FrechetDistance, TowerFrechet
from dtbox.evaluation.folders import compare_folders, hash_files, list_files
from dtbox.mllm_output import MLLMOutput
from dtbox.structures import Batch
from tests.clip_kit import NAME, make_files
from tests.clip_kit import tiny_clip as tiny_clip  # noqa: F401
from tests.evaluation.test_clip_score import open_images
from tests.evaluation.test_fid import clean_weights as clean_weights  # noqa: F401


@pytest.fixture
def folders(tmp_path):
    """(drawings, real images) of other sizes and numbers, in folders of categories."""
    make_files(tmp_path / 'drawn' / 'food', 5, seed=0, size=(48, 48))
    make_files(tmp_path / 'drawn' / 'people', 4, seed=1, size=(48, 48))
    make_files(tmp_path / 'real' / 'food', 7, seed=2, size=(60, 52))
    make_files(tmp_path / 'real' / 'art', 6, seed=3, size=(80, 80))
    return tmp_path / 'drawn', tmp_path / 'real'


def test_features_of_folders_are_those_of_clean_fid(folders, clean_weights, monkeypatch):
    """Two sizes in one batch: means and covariances are those of the features that clean-fid finds."""
    from cleanfid.fid import get_folder_features
    from cleanfid.inception_torchscript import InceptionV3W
    network = InceptionV3W(os.path.dirname(clean_weights), download=False, resize_inside=False)
    sides = [get_folder_features(str(folder), model=network, num_workers=0, device=torch.device('cpu'), mode='clean',
                                 verbose=False).astype(np.float64) for folder in folders]
    seen = []
    monkeypatch.setattr('dtbox.evaluation.folders.frechet_distance', lambda *moments: seen.extend(moments) or 7.0)
    found, note = compare_folders(FID(weights=clean_weights), *folders, batch=9)
    for (mean, covariance), side in zip((seen[2:], seen[:2]), sides):
        assert np.allclose(mean, side.mean(0), rtol=1e-4, atol=1e-4 * np.abs(side).max())
        assert np.allclose(covariance, np.cov(side, rowvar=False), atol=1e-4 * side.var(0).max())
    assert found == 7 and note == ('fewer real images (13) and fewer drawings (9) than the 2,048 features of the '
                                   'network: the distance is biased')


def test_bytes_of_files_stay(folders, monkeypatch):
    """The network gets the very bytes of a file; with `size` it gets them resized by Pillow."""
    seen = []

    def network(images):
        seen.append(images)
        return images.float().flatten(1)[:, :4]
    monkeypatch.setattr('dtbox.evaluation.fid.open_inception', lambda *args: network)
    level = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    FID(weights='x').open_features()([level])
    assert np.array_equal(seen[-1][0].permute(1, 2, 0).numpy(), level)
    FID(weights='x', size=8).open_features()([level])
    small = np.asarray(Image.fromarray(level).resize((8, 8), Image.Resampling.BICUBIC))
    assert np.array_equal(seen[-1][0].permute(1, 2, 0).numpy(), small)


def by_mean(images):
    return torch.stack([torch.from_numpy(image[0, 0, :2].astype(np.float64)) for image in images])


class ByHand(TowerFrechet):
    """Features of two numbers, the first pixel of each image."""

    def open_features(self, device='cpu'):
        return by_mean


def write_pixels(folder, rows):
    folder.mkdir()
    for i, row in enumerate(rows):
        Image.new('RGB', (4, 4), (*row, 0)).save(folder / f'{i}.png')
    return folder


def test_by_hand(tmp_path):
    """Means (1, 0) and (4, 0); variances 2 and 8 of the first number, 0 of the second: 9 + 2 + 8 - 2 sqrt(16)."""
    drawn = write_pixels(tmp_path / 'drawn', [(0, 0), (2, 0)])
    real = write_pixels(tmp_path / 'real', [(2, 0), (6, 0)])
    assert compare_folders(ByHand(), drawn, real) == (pytest.approx(11), '')
    assert compare_folders(ByHand(), drawn, real, batch=1)[0] == pytest.approx(11)
    assert compare_folders(ByHand(), drawn, drawn)[0] == pytest.approx(0, abs=1e-9)


def test_statistics_stand_in_for_real_images(folders, tmp_path, monkeypatch):
    drawn, real = folders
    monkeypatch.setattr('dtbox.evaluation.fid.open_inception', lambda *args: lambda x: x.float().mean((2, 3)))
    path = tmp_path / 'real.npz'
    rows = np.stack([np.asarray(Image.open(real / name).convert('RGB')).astype(np.float32).mean((0, 1))
                     for name in list_files(real)]).astype(np.float64)
    np.savez(path, mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    given = FID(weights='x', against='statistics', reference=str(path))
    wanted, _ = compare_folders(FID(weights='x'), drawn, real)
    assert compare_folders(given, drawn)[0] == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(InputError, match='FID compares with its own statistics; leave the folder'):
        compare_folders(given, drawn, real)


def test_towers_of_open_clip(tiny_clip, folders):
    """The metric on outputs and the folders have one rule: the drawings of a pass, written as files."""
    drawn, real = folders
    paths = [[folder / name for name in list_files(folder)[:4]] for folder in (drawn, real / 'art')]
    metric = TowerFrechet(NAME, tiny_clip[0])
    metric.setup(EvalContext())
    ours, theirs = map(open_images, paths)
    theirs = torch.nn.functional.interpolate(theirs, size=ours.shape[-2:])
    metric.process(Batch(images=theirs), MLLMOutput(theirs, drawings={'s=1': ours[:, None]}))
    value = metric.compute()[f'frechet_tower/{NAME}/s=1']
    assert value > 0 and 'fewer images than the 16 features' in metric.skipped
    with torch.no_grad():
        rows = [tiny_clip[1].encode_image(torch.stack([tiny_clip[2](Image.open(path)) for path in side])).double()
                for side in paths[:1]]
    found = metric.state['s=1|0/sum'] / 4
    assert torch.allclose(found, rows[0].mean(0), atol=1e-5)
    assert compare_folders(metric, drawn, real)[0] > 0 and metric.folder_value == f'frechet_tower/{NAME}/drawn'


def test_what_folders_cannot_be(folders, tmp_path):
    drawn, real = folders
    metric = ByHand()
    with pytest.raises(InputError, match='compares with real images; give their folder, too'):
        compare_folders(metric, drawn)
    with pytest.raises(InputError, match='none does not exist'):
        compare_folders(metric, drawn, tmp_path / 'none')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty' / '.0.png.part').write_bytes(b'')
    with pytest.raises(InputError, match='empty holds no images'):
        compare_folders(metric, drawn, tmp_path / 'empty')
    with pytest.raises(InputError, match='holds one image; a Frechet distance needs at least two'):
        compare_folders(metric, write_pixels(tmp_path / 'one', [(1, 1)]), real)
    with pytest.raises(InputError, match='FrechetDistance reads the outputs of a model, not files'):
        compare_folders(FrechetDistance(), drawn, real)
    assert not hasattr(PSNR(), 'open_features')
    (real / 'art' / '0.png').write_bytes((real / 'art' / '0.png').read_bytes()[:60])
    with pytest.raises(InputError, match=r'art/0.png cannot be read'):
        compare_folders(metric, drawn, real)


def test_hash_of_files(folders):
    drawn, _ = folders
    before = hash_files(drawn, list_files(drawn))
    assert hash_files(drawn, list_files(drawn)) == before
    os.rename(drawn / 'food' / '0.png', drawn / 'food' / 'x.png')
    assert hash_files(drawn, list_files(drawn)) != before
