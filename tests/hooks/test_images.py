"""Pictures of a run: they are there, show the same images each time, and change nothing."""
import contextlib
import logging
import random
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.drawing import sheets, strips
from dtbox.errors import Diverged, InputError
from dtbox.hooks import images as pictures
from dtbox.hooks.images import Images, choose, undisturbed
from dtbox.structures import Batch
from dtbox.training import checkpoint
from tests.tiny_run import train

SIDE = 192  # 32 pixels, six times


def row(path, number, count):
    """Pixels of the first row of pictures of a sheet (0: inputs, 1: reconstructions), enlarged."""
    step = SIDE + sheets.GAP
    left, top = sheets.MARGIN + sheets.LABELS, sheets.MARGIN + 36 + 38 + number * step
    sheet = Image.open(path)
    return [np.asarray(sheet.crop((x, top, x + SIDE, top + SIDE))) for x in range(left, left + count * step, step)]


def test_what_a_run_leaves(tiny_run):
    assert sorted(p.name for p in (tiny_run / 'images').iterdir()) == ['iter_000003.png', 'iter_000006.png']
    for name in ('iter_000003.png', 'iter_000006.png'):
        assert Image.open(tiny_run / 'images' / name).width == 2 * 20 + 120 + 4 * 198 - 6
    sheet = Image.open(tiny_run / 'reconstructions.png')
    # six images of 4 x 32 pixels, three rows
    assert sheet.size == (2 * 20 + 120 + 6 * 134 - 6, 20 + 36 + 28 + 38 + 3 * 134 + 30)
    for name in ('codebooks.png', 'losses.png'):
        assert min(Image.open(tiny_run / name).size) > 600


def test_same_images_each_time(tiny_run):
    early, late = (tiny_run / 'images' / f'iter_{n:06d}.png' for n in (3, 6))
    assert all((a == b).all() for a, b in zip(row(early, 0, 4), row(late, 0, 4)))
    assert not any((a == b).all() for a, b in zip(row(early, 1, 4), row(late, 1, 4)))


def test_inputs_are_the_held_out_images(tiny_run, tiny_config):
    for i, shown in zip((0, 2, 4, 6), row(tiny_run / 'images' / 'iter_000003.png', 0, 4)):  # 4 of 8, evenly spaced
        photo = Image.open(tiny_config.parent / 'photos' / 'val' / f'photo_{i:02d}.png')
        small = np.asarray(Image.fromarray(shown).resize((32, 32), Image.Resampling.NEAREST)).astype(float)
        whole = np.asarray(photo.resize((38, 32)).crop((3, 0, 35, 32))).astype(float)
        assert np.abs(small - whole).mean() < 6


def test_strip_of_held_out_images(tiny_run, tiny_config):
    inputs, made, names = strips.read_strip(tiny_run / 'heldout.png')
    assert inputs.shape == made.shape == (8, 32, 32, 3) and Image.open(tiny_run / 'heldout.png').size == (8 * 32, 64)
    assert names == [('heldout', f'val/photo_{i:02d}.png') for i in range(8)]

    assert np.abs(inputs.astype(int) - made).mean() > 1
    for i, picture in zip((0, 2, 4, 6), row(tiny_run / 'images' / 'iter_000003.png', 0, 4)):
        assert (inputs[i] == picture[3::6, 3::6]).all()
    # the last iteration's reconstructions
    for i, picture in zip((0, 2, 4, 6), row(tiny_run / 'images' / 'iter_000006.png', 1, 4)):
        assert (made[i] == picture[3::6, 3::6]).all()
    with pytest.raises(InputError, match='is not a strip'):
        strips.read_strip(tiny_run / 'reconstructions.png')


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_pictures_change_nothing(tiny_run, tiny_config, tmp_path):
    train(tiny_config, tmp_path / 'run', hooks=dict(_delete_=True, checkpoint=dict(type='Checkpoint', interval=6)),
          val_evaluator=dict(_delete_=True, psnr=dict(type='PSNR')))
    with_pictures, without = checkpoint.load(tiny_run), checkpoint.load(tmp_path / 'run')
    for part in ('state_dict', 'optimizer', 'random', 'iteration'):
        assert same(with_pictures[part], without[part]), part


def test_a_picture_that_fails_does_not_cost_the_run(tiny_config, tmp_path, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise OSError('no font')
    monkeypatch.setattr(pictures, 'draw_sheet', broken)
    with pytest.raises(RuntimeError, match=r'is complete, but .*: images/iter_000003.png \(OSError: no font\); '
                                           r'.*reconstructions.png'):
        train(tiny_config, tmp_path / 'run')
    left = {p.name for p in Path(tmp_path / 'run').iterdir()}
    assert {'checkpoint.pth', 'metrics.json', 'samples.npz', 'heldout.png', 'codebooks.png', 'losses.png'} <= left
    assert 'reconstructions.png' not in left
    assert checkpoint.load(tmp_path / 'run')['iteration'] == 6


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_run_that_diverges_with_its_last_update(value, tmp_path, caplog, monkeypatch):
    """Its loss was a number, its images are none: one sentence, and no picture."""
    running = runner(tmp_path)
    running.task = types.SimpleNamespace(
        reconstructs=True, quantizers={}, shards=None, modules=lambda: [], autocast=contextlib.nullcontext,
        prepare=lambda batch: batch, reconstruct=lambda batch: torch.full((1, 3, 4, 4), value))
    running.val_loop = types.SimpleNamespace(dataloader=types.SimpleNamespace(dataset=[0]))
    for name in ('draw_usage', 'draw_history'):
        monkeypatch.setattr(pictures, name, lambda *_: None)
    monkeypatch.setattr(pictures, 'undisturbed', lambda task: contextlib.nullcontext())
    monkeypatch.setattr(pictures, 'collate', lambda samples: Batch(images=torch.zeros(1, 3, 4, 4)))
    monkeypatch.setattr(pictures, 'write_heldout', lambda running, path: pictures.reconstruct(
        running, Batch(images=torch.zeros(1, 3, 4, 4))))
    hook = Images(interval=0)
    hook.before_train(running)
    with pytest.raises(Diverged, match=f'the run in {tmp_path} has ended, and reconstructions of held-out images hold '
                                       'NaN or infinite values. Its last updates have made it diverge'):
        hook.after_train(running)
    assert list(tmp_path.iterdir()) == [] and 'Traceback' not in caplog.text


def runner(tmp_path):
    """Something that looks like a Runner to the hook."""
    logger = logging.getLogger('pictures-test')
    task = types.SimpleNamespace(reconstructs=False, quantizers={})
    visualizer = types.SimpleNamespace(_vis_backends={})
    return types.SimpleNamespace(task=task, val_loop=None, visualizer=visualizer, iter_done=3, work_dir=str(tmp_path),
                                 logger=logger)


@pytest.mark.parametrize('reconstructs, says', [
     (False, ''), (True, 'No images of reconstructions: there are no held-out images.')])
def test_nothing_to_reconstruct(tmp_path, caplog, reconstructs, says):
    fake, hook = runner(tmp_path), Images(1)
    fake.task.reconstructs = reconstructs
    with caplog.at_level(logging.INFO):
        hook.before_train(fake)
        hook.after_train_iter(fake, 2)
        hook.after_train(fake)
    assert ''.join(record.getMessage() for record in caplog.records) == says and not list(tmp_path.iterdir())


def test_choice_is_spread_over_the_sets():
    class Data(list):
        sets = ['a'] * 10 + ['b'] * 3
    data = Data(range(13))
    assert choose(data, total=5) == [0, 3, 6, 10, 11]
    assert choose(data, each=4) == [0, 2, 5, 7, 10, 11, 12]
    assert choose(data, total=1) == [0, 10]  # one of each set at least
    assert choose(range(8), total=3) == [0, 2, 5]


def test_undisturbed():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    model.train()
    model[1].eval()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[2]
    with pytest.raises(KeyError), undisturbed(model):
        assert not model[0].training and not torch.is_grad_enabled()
        torch.rand(3), random.random(), np.random.rand(3)
        raise KeyError
    assert model.training and model[0].training and not model[1].training and torch.is_grad_enabled()
    assert (
        torch.equal(before[0], torch.get_rng_state())
        and before[1] == random.getstate()
        and before[2] == np.random.get_state()[2]
    )


@pytest.mark.parametrize('bad', [dict(interval=-1), dict(interval=2.5), dict(interval=5, count=0),
                                 dict(interval=5, per_set=True)])
def test_bad_settings(bad):
    with pytest.raises(InputError, match='expected a whole number'):
        Images(**bad)
