"""Every kind of `dtbox convert`: its golden files as they are published, and what holds for them."""
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tests.conftest import write_published
from tests.converters.published import read_qlip_images, write_atoken, write_qlip, write_rae, write_titok
from tests.converters.test_janus import write_shards
from tests.converters.test_vila_u import by_hand, tower, written


class Case(NamedTuple):
    """A golden file as it is published, and what holds for it.

    Args:
        kind: of `dtbox convert`.
        file: name of the golden file.
        write: (new folder, golden file) -> file or folder that is converted.
        codes: golden file -> stream -> codes, or latents of a continuous one.
        images: golden file -> the images of these codes [B,3,H,W] in [-1, 1].
        options: of the command line; `{}` stands for the new folder.
        stays: patterns of weights that do not learn from images: they are frozen.
        refused: what the first step says of a file that images alone cannot train.
    """
    kind: str
    file: str
    write: Callable[[Path, dict], Path]
    codes: Callable[[dict], dict]
    images: Callable[[dict], Tensor] = lambda golden: golden['inputs']['image']
    options: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    refused: str = ''


def save(file, entry='state_dict'):
    """A function that writes an entry of a golden file to a file of this name."""
    def write(folder, golden):
        torch.save(golden[entry], folder / file)
        return folder / file
    return write


def write_dualtoken(folder, golden):
    return write_published(folder / 'release', golden)[0]


def write_vila_u(folder, golden):
    write_published(folder / 'release', golden)
    return written(folder / 'tower', *tower(golden, texts=False))


def write_janus(folder, golden):
    return write_shards(folder, golden['state_dict'])


def find_vila_u_codes(golden):
    """By hand: the release of VILA-U gives no golden codes."""
    table = tower(golden)[1]['quantizer.codebooks.0.weight'][:-1]
    return dict(unified=by_hand(golden['intermediates']['hidden_states'][5].float(), table)[0])


def find_dualtoken_codes(golden):
    return {name: golden['outputs'][f'code_{short}'].flatten(1, 2)
            for name, short in (('pixel', 'pix'), ('semantic', 'sem'))}


def find_rae_latents(golden):
    return dict(latent=golden['outputs']['dinov2']['latent'].flatten(2).transpose(1, 2))


def find_titok_codes(golden):
    """Of the variant `vae` the means."""
    out = golden['outputs']
    found = out['codes'] if 'codes' in out else out['mean'][:, :, 0]
    return dict(pixel=found.transpose(1, 2))


def flat(name='pixel', entry='codes'):
    """A function that returns an entry of the outputs with one code a token, [B,N] or [BN], as codes of a stream."""
    return lambda golden: {name: golden['outputs'][entry].reshape(len(golden['inputs']['image']), -1, 1)}


def read_images(golden):
    return golden['inputs']['images']


def widen_unit(golden):
    """Images of [0, 1] in [-1, 1]."""
    return golden['inputs']['image'] * 2 - 1


TRUNK = 'encoders.trunk.trunk'
AFTER = (f'{TRUNK}.blocks.5.*', f'{TRUNK}.norm.*', f'{TRUNK}.attn_pool.*')
"""What follows the last layer that a vocabulary of golden_A reads."""
SEMANTIC = 'vocabularies.semantic.post_projection.*'
SCALES = ('--scales', '1,2,3,4')
CASES = {case.file: case for case in (
    Case('dualtoken', 'A', write_dualtoken, find_dualtoken_codes, read_images, ('--siglip', '{}/release/siglip'),
         (*AFTER, SEMANTIC, 'text.*')),
    Case('vila_u', 'vila_u', write_vila_u, find_vila_u_codes, read_images, ('--siglip', '{}/release/siglip'), AFTER),
    Case('vqgan', 'vqgan', save('vqgan.ckpt'), lambda golden: dict(pixel=golden['codes'][..., None]),
         lambda golden: golden['images'], ('--image-size', '32')),
    Case('unitok', 'unitok', save('unitok_tokenizer.pth'),
         lambda golden: dict(unified=golden['outputs']['codes'].transpose(1, 2)), options=('--heads', '4'),
         stays=('head.*', 'text.*')),
    Case('var', 'var', save('vae.pth'), flat(entry='codes_flat')),
    Case('tokenflow', 'tokenflow_clipb', save('x.pt'), flat('joint'), options=SCALES,
         stays=(SEMANTIC,)),
    Case('tokenflow', 'tokenflow_vitamin', save('x.pt'), flat('joint'), options=('--heads', '4', *SCALES),
         stays=(SEMANTIC,)),
    Case('tokenflow', 'tokenflow_siglip', save('x.pt'), flat('joint'),
         options=('--heads', '4', '--image-size', '60', *SCALES),
         stays=(*(f'encoders.semantic.trunk.{part}.*' for part in ('blocks.2', 'norm', 'attn_pool')), SEMANTIC)),
    Case('ibq', 'ibq', save('x.ckpt'), flat(), options=('--image-size', '32')),
    Case('open_magvit2', 'open_magvit2', save('x.ckpt'), flat()),
    Case('janus', 'janus', write_janus, flat(), options=('--image-size', '48')),
    Case('maskgit_vqgan', 'maskgit_vqgan', save('x.bin'), flat(), widen_unit, ('--image-size', '32')),
    Case('titok', 'titok', write_titok, find_titok_codes, widen_unit),
    Case('titok', 'tatitok', write_titok, find_titok_codes, widen_unit,
         refused='there is no text tower that reads those of the data'),
    Case('titok', 'titok_vae', write_titok, find_titok_codes, widen_unit),
    Case('rae', 'rae', lambda folder, golden: write_rae(folder, golden) / 'model.pt', find_rae_latents, widen_unit,
         ('--encoder', '{}/dinov2', '--stat', '{}/stat.pt', '--heads', '4'), ('encoders.*',)),
    Case('qlip', 'qlip', write_qlip, flat('unified', 'index'), read_qlip_images,
         stays=(f'{TRUNK}.norm.*', f'{TRUNK}.head.*', 'text.*')),
    Case('atoken', 'atoken', lambda folder, golden: write_atoken(folder, golden) / 'atoken-sod.pt', lambda golden: {},
         lambda golden: golden['inputs']['images'][0][:, :, :32].contiguous()[None],
         ('--config', '{}/sod.yaml', '--image-size', '32'), ('encoders.trunk.attn_pool.*',)))}
