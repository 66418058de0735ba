"""Drawings of classes: told by the nearest mean of training photographs."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.errors import InputError
from dtbox.evaluation import DrawingClass
from dtbox.mllm_output import MLLMOutput
from dtbox.structures import Batch

RED = (1., -1, -1)
GREEN = (-1., 1, -1)
BLUE = (-1., -1, 1)


@pytest.fixture
def metric(tmp_path):
    """Classes red and blue of two images each, of another size; features are the mean colour."""
    for name, colour in (('red', (250, 20, 0)), ('blue', (0, 20, 250))):
        for i in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new('RGB', (48, 40), colour).save(tmp_path / name / f'{i}.png')
    metric = DrawingClass(dict(type='ImageFolder', data_root=str(tmp_path), split='all'))
    seen = []

    def embed(images):
        seen.extend(image.shape for image in images)
        return torch.tensor(np.stack([image.mean((0, 1)) for image in images]))
    metric.towers.open = lambda device='cpu': SimpleNamespace(embed_levels=embed)
    metric.seen = seen
    return metric


def paint(*colours):
    return torch.tensor(colours)[..., None, None].expand(*[-1] * (torch.tensor(colours).ndim), 16, 16)


def test_fractions(metric):
    """Two prompts, two seeds: red is red once of two times, blue twice; a third prompt names no class; a sample that is
    not drawn does not count."""
    images = paint(RED, BLUE, RED, RED)
    drawings = torch.stack([paint(RED, GREEN), paint(BLUE, BLUE), paint(RED, RED),
                            torch.full((2, 3, 16, 16), float('nan'))])
    drawings[0, 1] = paint(BLUE)[0]
    outputs = MLLMOutput(images, reconstructions=paint(BLUE, BLUE, RED, RED), drawings={'s=2': drawings},
                         prompts=['a photo of a red', 'A photo of a Blue', 'a red one', ''])
    metric.process(Batch(images=images, keys=list('abcd')), outputs)
    values = metric.compute()
    assert {name: values[f'drawing_class/{name}'] for name in ('s=2', 'reconstruction', 'real')} == {
        's=2': 0.75, 'reconstruction': 0.5, 'real': 1.0}
    assert metric.count == 3 and 'prompts that name none of 2 classes (1 image)' in metric.skipped
    assert np.array_equal(metric.samples()['drawing_class/s=2'], [0.5, 1, np.nan, np.nan], equal_nan=True)
    assert set(metric.seen) == {(16, 16, 3)}  # photographs are as small as the drawings


def test_photographs_without_classes(metric, tmp_path):
    (tmp_path / 'no').mkdir()
    Image.new('RGB', (48, 40)).save(tmp_path / 'no' / 'a.png')
    with pytest.raises(InputError, match='the photographs have no classes with names'):
        DrawingClass(dict(type='ImageFolder', data_root=str(tmp_path / 'no'), split='all')).means_of.open()
