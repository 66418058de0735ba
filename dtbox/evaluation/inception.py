"""The two Inception networks of FID, each as its library runs it, weights from a file.

clean-fid (Parmar et al., arXiv 2104.11222): pictures resized to 299 by Pillow's bicubic filter in float, NVIDIA's TorchScript export. torch-fidelity
(Obukhov et al., 2020): uint8 pictures, TensorFlow 1's bilinear resize inside, weights converted from TensorFlow's; ADM's evaluation
(Dhariwal and Nichol, arXiv 2105.05233) runs that TensorFlow network itself.
"""
import os

import numpy as np
import torch

from dtbox.errors import InputError, need_package, reason

FILES = {
    'clean-fid': 'https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt',
    'torch-fidelity': 'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth'}
"""Library -> where its weights are published."""


def open_inception(library, weights, device='cpu'):
    """Return a callable uint8 [B, 3, H, W] -> features [B, 2048] float32.

    Args:
        library: 'clean-fid' or 'torch-fidelity'.
        weights: path of the file that FILES names, or 'download' to let torch fetch it once into its hub folder.
        device: where the network runs.

    Raises:
        InputError: no weights, a missing package, or a file of something else; says where it comes from.
    """
    url = FILES[library]
    if not weights:
        raise InputError(f'the weights of {library}\'s Inception are not given. Fetch {url} and give its path, or \'download\'.')
    path = _downloaded(url) if weights == 'download' else os.fspath(weights)
    if not os.path.isfile(path):
        raise InputError(f'the weights of {library}\'s Inception, {path}, do not exist. Fetch {url}.')
    try:
        return (_clean if library == 'clean-fid' else _fidelity)(path, device)
    except InputError:
        raise
    except Exception as e:  # TorchScript and pickles raise anything
        raise InputError(f'{path} does not hold the Inception of {library} ({reason(e)}). Fetch {url}.') from e


def _clean(path, device):
    resize = need_package('cleanfid.resize', 'fid', 'clean-fid\'s rFID').build_resizer('clean')
    network = torch.jit.load(path, map_location=device).eval()

    @torch.no_grad()
    def features(images):
        # as cleanfid.inception_torchscript.InceptionV3W with resize_inside=False
        small = np.stack([resize(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()])
        x = torch.from_numpy(small).permute(0, 3, 1, 2).to(device)
        return network.layers((x - 128) / 128).view(len(x), -1).float()
    return features


def _fidelity(path, device):
    package = need_package('torch_fidelity.feature_extractor_inceptionv3', 'fid', 'torch-fidelity\'s rFID')
    torch.load(path, map_location='cpu', weights_only=True)  # nothing but tensors: the package itself would read any pickle
    network = package.FeatureExtractorInceptionV3('inception-v3-compat', ['2048'], path).to(device).eval()

    @torch.no_grad()
    def features(images):
        return network(images.to(device))[0].float()
    return features


def _downloaded(url):
    path = os.path.join(torch.hub.get_dir(), 'checkpoints', os.path.basename(url))
    if not os.path.isfile(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, path, progress=False)
        except Exception as e:  # network and disk
            raise InputError(f'{url} could not be fetched ({reason(e)}). Fetch it by hand and give its path.') from e
    return path
