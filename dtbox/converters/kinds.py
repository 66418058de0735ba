"""The kinds of `dtbox convert`: one entry each, read by the command line and by `run_folder.convert`. Importing this
module imports no converter."""
from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dtbox.errors import InputError, closest


@dataclass(frozen=True)
class Option:
    """An option of one kind on the command line.

    Args:
        name: of the argument of the kind's function; `image_size` is `--image-size` on the command line.
        help: what it is.
        settings: further arguments of argparse's `add_argument` (type, default, metavar, choices, action).
    """
    name: str
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return f'--{self.name.replace("_", "-")}'


@dataclass(frozen=True)
class Kind:
    """A layout of published weights.

    Args:
        help: what it is, with its paper, and what SRC is, in one line.
        source: what SRC is.
        function: MODULE.FUNCTION below `dtbox.converters`. It is called as function(src, weights, **options), where
            `weights` says which of several sets of weights to take (None: choose), and returns a `Converted`.
        options: of this kind alone.
    """
    help: str
    source: str
    function: str
    options: tuple[Option, ...] = ()

    def find_function(self) -> Callable[..., Any]:
        """Import the function."""
        module, _, name = self.function.rpartition('.')
        return getattr(importlib.import_module(f'dtbox.converters.{module}'), name)


MOST_ROWS = 1024
"""More rows of a token grid than any image has."""


def read_scales(text: str) -> list[int]:
    """'1,2,4' -> [1, 2, 4]; an error of the command line for anything else."""
    parts = text.split(',')
    if not all(part.isdecimal() and 0 < int(part) <= MOST_ROWS for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} came; expected the rows of each scale, from 1 to {MOST_ROWS}, such '
                                         'as 1,2,4,8')
    return [int(part) for part in parts]


SCALES = Option('scales', 'sizes of the scales, the last the token grid (default: the published ones)',
                dict(type=read_scales, metavar='N,N,...'))

KINDS: dict[str, Kind] = {
    'dualtoken': Kind(
        'DualToken (arXiv 2503.14324): a folder with config.json and one .pt', 'folder with config.json and one .pt',
        'dualtoken.convert',
        (Option('siglip', 'Hugging Face SigLIP folder (default: pretrained_model of the config)', dict(metavar='DIR')),
         )),
    'vila_u': Kind(
        'VILA-U (arXiv 2409.04429): the folder `vision_tower` of a release', 'folder with config.json and weights',
        'vila_u.convert',
        (Option('siglip', 'published SigLIP or its local folder (default: pretrained_model of the config)',
                dict(metavar='NAME|DIR')),)),
    'vqgan': Kind(
        'VQGAN of taming-transformers (arXiv 2012.09841), LlamaGen (arXiv 2406.06525), Chameleon (arXiv 2405.09818): '
        'one file of weights; or the folder of a VQModel of diffusers',
        '.ckpt, .pt or .safetensors file, or folder of diffusers', 'vqgan.convert',
        (Option('image_size', 'pixels, which the weights do not contain (default: 256)', dict(type=int, default=256)),
         Option('unit_images', 'the network works on images in [0, 1], as aMUSEd\'s does, not in [-1, 1]',
                dict(action='store_true')))),
    'unitok': Kind(
        'UniTok (arXiv 2502.20321): its file unitok_tokenizer.pth', '.pth file', 'unitok.convert',
        (Option('heads', 'attention heads, where the width is not that of a published ViTamin',
                dict(type=int, metavar='N')),)),
    'var': Kind(
        'VAR\'s multi-scale tokenizer (arXiv 2404.02905): its file vae_ch160v4096z32.pth', '.pth file', 'var.convert',
        (SCALES,)),
    'tokenflow': Kind(
        'TokenFlow (arXiv 2412.03069): one of its tokenizer files', '.pt file', 'tokenflow.convert',
        (SCALES,
         Option('image_size', 'pixels (default: those of the published model); positions are resized as TokenFlow does',
                dict(type=int, metavar='N')),
         Option('heads', 'attention heads of a ViTamin or SigLIP of another width than the published ones',
                dict(type=int, metavar='N')))),
    'ibq': Kind(
        'IBQ (arXiv 2412.02692): a .ckpt of SEED-Voken; or the folder of Emu3.5\'s vision tokenizer (arXiv 2510.26583)',
        '.ckpt file, or folder with config.yaml and model.ckpt', 'ibq.convert',
        (Option('image_size', 'pixels (default: `resolution` of config.yaml, else 256)',
                dict(type=int, metavar='N')),)),
    'open_magvit2': Kind(
        'Open-MAGVIT2 (arXiv 2409.04410): a .ckpt of SEED-Voken', '.ckpt file', 'open_magvit2.convert',
        (Option('image_size', 'pixels (default: what makes 16 x 16 tokens)', dict(type=int, metavar='N')),
         Option('parts', 'bits of each of several codes of a token, such as 9 9 (default: one code of all bits)',
                dict(type=int, nargs='+', metavar='BITS')))),
    'janus': Kind(
        'the image tokenizer of Janus (arXiv 2410.13848, 2501.17811): files of the language model, by DeepSeek or in '
        'the layout of transformers', 'folder with weights whole or in shards, or one file', 'janus.convert',
        (Option('image_size', 'pixels, which the weights do not contain (default: 384)',
                dict(type=int, default=384)),)),
    'maskgit_vqgan': Kind(
        'MaskGIT\'s VQGAN (arXiv 2202.04200) in PyTorch: maskgit-vqgan-imagenet-f16-256.bin', '.bin file',
        'maskgit_vqgan.convert',
        (Option('image_size', 'pixels, which the weights do not contain (default: 256)',
                dict(type=int, default=256)),)),
    'titok': Kind(
        'TiTok (arXiv 2406.07550) and TA-TiTok (arXiv 2501.07730) of bytedance/1d-tokenizer: a folder, or one file',
        'folder with config.json and weights, or file of weights', 'titok.convert',
        (Option('config', '.json or .yaml file of the release (default: config.json of the folder, or beside the file)',
                dict(metavar='FILE')),
         Option('heads', 'attention heads of encoder and decoder, where their widths are not the published ones',
                dict(type=int, nargs=2, metavar=('ENC', 'DEC'))),
         Option('maskgit', 'file of MaskGIT-VQGAN, which turns what a first stage predicts into images',
                dict(metavar='FILE')),
         Option('clip', 'file of CLIP ViT-L-14-336, which reads the texts of a TA-TiTok', dict(metavar='FILE')))),
    'rae': Kind(
        'RAE (arXiv 2510.11690): the file of a decoder (model.pt), or a training checkpoint',
        'file of the decoder, or a training checkpoint {model, ema}', 'rae.convert',
        (Option('encoder', 'local Hugging Face folder of the encoder (dinov2-with-registers, SigLIP 2, vit-mae)',
                dict(metavar='DIR')),
         Option('stat', 'file of the latents\' mean and variance (default: latents are not normalised)',
                dict(metavar='FILE')),
         Option('heads', 'attention heads, where the width is not that of a published decoder',
                dict(type=int, metavar='N')),
         Option('input_size', 'pixels that the encoder sees (default: so many that it has the tokens of the decoder)',
                dict(type=int, metavar='N')))),
    'qlip': Kind(
        'QLIP (arXiv 2502.05178): a Hugging Face folder', 'folder with config.json and weights', 'qlip.convert'),
    'atoken': Kind(
        'AToken (arXiv 2509.14476): its file atoken-sod.pt or atoken-soc.pt', '.pt file', 'atoken.convert',
        (Option('config', 'yaml of the release, which tells the quantizer', dict(metavar='FILE')),
         Option('codes', 'codes of a book (4096: atoken-sod), 0 for the continuous atoken-soc',
                dict(type=int, metavar='N')),
         Option('image_size', 'pixels of the images that the run reads (default: 256)', dict(type=int, default=256)),
         Option('heads', 'attention heads of the encoder (default: those of the yaml, or 16)',
                dict(type=int, metavar='N')))),
}
"""What is typed after `dtbox convert` -> the kind."""


def find_kind(name: str) -> Kind:
    """Return a kind; `InputError` with the closest name where there is none."""
    if name not in KINDS:
        raise InputError(f'there is no kind of published weights `{name}`.{closest(name, KINDS)} Kinds: '
                         f'{", ".join(KINDS)}.')
    return KINDS[name]
