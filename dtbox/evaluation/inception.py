"""The two Inception networks of FID, each as its library runs it, weights from a file.

clean-fid (Parmar et al., arXiv 2104.11222): images resized to 299 by Pillow's bicubic filter in float, NVIDIA's
TorchScript export. torch-fidelity (Obukhov et al., 2020): uint8 images, TensorFlow 1's bilinear resize inside, weights
converted from TensorFlow's; ADM's evaluation (Dhariwal and Nichol, arXiv 2105.05233) runs that TensorFlow network
itself.
"""
from __future__ import annotations

import os
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dtbox.checksums import find_damage
from dtbox.errors import InputError, need_package, reason
from dtbox.weights.entries import split_entry

BASE = dict(nvidia='https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics',
            toshas='https://github.com/toshas/torch-fidelity/releases/download/v0.2.0')
FILES = {
    'clean-fid': f'{BASE["nvidia"]}/inception-2015-12-05.pt',
    'torch-fidelity': f'{BASE["toshas"]}/weights-inception-2015-12-05-6726825d.pth'}
"""Library -> where its weights are published."""
OPTIONS = {'clean-fid': 'inception_clean', 'torch-fidelity': 'inception_fidelity'}
"""Library -> the variable of the shipped protocols that names them."""


def check_given(weights: str | os.PathLike | None, what: str, url: str) -> None:
    """Raise `InputError` where a path of weights is given and there is no such file; 'download' and None are none."""
    if weights and weights != 'download' and not os.path.isfile(split_entry(os.fspath(weights))[0]):
        raise InputError(f'{what}, {os.fspath(weights)}, do not exist. Fetch {url}.', 'weights')


def open_inception(library: str, weights: str | os.PathLike | None,
                   device: torch.device | str = 'cpu') -> Callable[[Tensor], Tensor]:
    """Return a callable uint8 [B,3,H,W] -> features [B,2048] float32.

    Args:
        library: 'clean-fid' or 'torch-fidelity'.
        weights: path of the file that FILES names, or 'download' to let torch fetch it once into its hub folder.
        device: where the network runs.

    Raises:
        InputError: no weights, a missing package, or a file of something else; says where it comes from.
    """
    url = FILES[library]
    if not weights:
        raise InputError(f'the weights of {library}\'s Inception are not given. Fetch {url} and give its path as '
                         f'`weights` (of a shipped protocol: --cfg-options {OPTIONS[library]}=PATH), or \'download\'.')
    path = _download(url) if weights == 'download' else os.fspath(weights)
    check_given(path, f'the weights of {library}\'s Inception', url)
    try:
        return (_clean if library == 'clean-fid' else _fidelity)(path, device)
    except InputError:
        raise
    except Exception as e:  # TorchScript and pickles raise anything
        other = next(name for name in FILES if name != library)
        what = reason(e).splitlines()[0][:80].rsplit(' ', 1)[0]
        raise InputError(f'{path} does not hold the Inception of {library} ({what} ...). It may be that of {other}, or '
                         f'half downloaded. Fetch {url}.') from e


def _clean(path: str, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    resize = need_package('cleanfid.resize', 'fid', 'clean-fid\'s rFID').build_resizer('clean')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch means to give up TorchScript, in which NVIDIA publishes the network
        network = torch.jit.load(path, map_location=device).eval()
    if not hasattr(network, 'layers'):
        raise InputError(f'{path} is a TorchScript of something else than NVIDIA\'s Inception (it has no `layers`). '
                         f'Fetch {FILES["clean-fid"]}.')

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        # as cleanfid.inception_torchscript.InceptionV3W with resize_inside=False
        small = np.stack([resize(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()])
        x = torch.from_numpy(small).permute(0, 3, 1, 2).to(device)
        return network.layers((x - 128) / 128).view(len(x), -1).float()
    return features


def _fidelity(path: str, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    package = need_package('torch_fidelity.feature_extractor_inceptionv3', 'fid', 'torch-fidelity\'s rFID')
    if (damage := find_damage(path)) is not None:
        raise InputError(f'{path} is damaged: its record {damage} does not match its checksum. Take another copy.')
    torch.load(path, map_location='cpu', weights_only=True)  # tensors only: the package itself would read any pickle
    network = package.FeatureExtractorInceptionV3('inception-v3-compat', ['2048'], path).to(device).eval()

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return network(images.to(device))[0].float()
    return features


def _download(url: str) -> str:
    """Return the path of a file of torch's hub folder, fetched where it is not there."""
    path = os.path.join(torch.hub.get_dir(), 'checkpoints', os.path.basename(url))
    if not os.path.isfile(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, path, progress=False)
        except Exception as e:  # network and disk
            raise InputError(f'{url} could not be fetched ({reason(e)}). Fetch it by hand and give its path.') from e
    return path
