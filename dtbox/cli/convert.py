"""dtbox convert: turn published weights into a run folder."""
from __future__ import annotations

import argparse

from dtbox.cli.verb import Verb

MOST_ROWS = 1024
"""More rows of a token grid than any image has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each kind of published weights."""
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    dualtoken = kinds.add_parser('dualtoken', help='DualToken (arXiv 2503.14324): a folder with config.json and one '
                                                   '.pt')
    dualtoken.add_argument('src', metavar='SRC', help='folder with config.json and one .pt')
    vila = kinds.add_parser('vila_u', help='VILA-U (arXiv 2409.04429): the folder `vision_tower` of a release')
    vila.add_argument('src', metavar='SRC', help='folder with config.json and weights')
    gan = kinds.add_parser('vqgan', help='VQGAN of taming-transformers (arXiv 2012.09841) or LlamaGen (arXiv '
                                         '2406.06525): one file of weights')
    gan.add_argument('src', metavar='SRC', help='.ckpt, .pt or .safetensors file')
    uni = kinds.add_parser('unitok', help='UniTok (arXiv 2502.20321): its file unitok_tokenizer.pth')
    uni.add_argument('src', metavar='SRC', help='.pth file')
    var = kinds.add_parser('var', help='VAR\'s multi-scale tokenizer (arXiv 2404.02905): its file '
                                       'vae_ch160v4096z32.pth')
    var.add_argument('src', metavar='SRC', help='.pth file')
    flow = kinds.add_parser('tokenflow', help='TokenFlow (arXiv 2412.03069): one of its tokenizer files')
    flow.add_argument('src', metavar='SRC', help='.pt file')
    add_scale_options(var, flow)
    for parser in (dualtoken, vila, gan, uni, var, flow):
        parser.add_argument('dst', metavar='DST', help='run folder to write')
        parser.add_argument('--weights', metavar='ENTRY',
                            help='which of several sets of weights in the file to take, such as model or ema (default: '
                                 'the average, where there is one; the log says so)')
    dualtoken.add_argument('--siglip', metavar='DIR',
                           help='Hugging Face SigLIP folder (default: pretrained_model of the config)')
    vila.add_argument('--siglip', metavar='NAME|DIR',
                      help='published SigLIP or its local folder (default: pretrained_model of the config)')
    uni.add_argument('--heads', type=int, metavar='N',
                     help='attention heads, where the width is not that of a published ViTamin')
    gan.add_argument('--image-size', type=int, default=256,
                     help='pixels, which the weights do not contain (default: 256)')


def add_scale_options(var: argparse.ArgumentParser, flow: argparse.ArgumentParser) -> None:
    """Add the options of multi-scale tokenizers."""
    for parser in (var, flow):
        parser.add_argument('--scales', metavar='N,N,...', type=read_scales,
                            help='sizes of the scales, the last the token grid (default: the published ones)')
    flow.add_argument('--image-size', type=int, metavar='N',
                      help='pixels (default: those of the published model); positions are resized as TokenFlow does')
    flow.add_argument('--heads', type=int, metavar='N',
                      help='attention heads of a ViTamin or SigLIP of another width than the published ones')


def read_scales(text: str) -> list[int]:
    """'1,2,4' -> [1, 2, 4]; an error of the command line for anything else."""
    parts = text.split(',')
    if not all(part.isdecimal() and 0 < int(part) <= MOST_ROWS for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} came; expected the rows of each scale, from 1 to {MOST_ROWS}, such '
                                         'as 1,2,4,8')
    return [int(part) for part in parts]


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from dtbox.converters import run_folder
    if args.kind == 'vqgan':
        count = run_folder.convert_vqgan(args.src, args.dst, args.image_size, args.weights)
    elif args.kind == 'unitok':
        count = run_folder.convert_unitok(args.src, args.dst, args.heads, args.weights)
    elif args.kind == 'var':
        count = run_folder.convert_var(args.src, args.dst, args.scales, args.weights)
    elif args.kind == 'tokenflow':
        count = run_folder.convert_tokenflow(args.src, args.dst, args.image_size, args.scales, args.heads,
                                             args.weights)
    else:
        convert = dict(dualtoken=run_folder.convert_dualtoken, vila_u=run_folder.convert_vila_u)[args.kind]
        count = convert(args.src, args.dst, args.siglip, args.weights)
    print(f'{args.dst}: {count / 1e6:.2f} M parameters; open it with dtbox.load({args.dst!r})')


VERB = Verb(
    'convert', 'Turn published weights into a run folder that dtbox opens',
    'The run folder DST with config.py and checkpoint.pth, and the number of parameters.',
    'dtbox convert vqgan vqgan_imagenet_f16.ckpt work_dirs/vqgan_f16', add_arguments, run)
