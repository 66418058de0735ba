"""Turn published weights into a run folder: python tools/convert_checkpoint.py dualtoken|vila_u|vqgan SRC DST"""
import argparse

from dtbox.cli.guard import main_guard


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Turn published weights into a run folder that dtbox opens.')
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    dualtoken = kinds.add_parser('dualtoken', help='DualToken (arXiv 2503.14324): a folder with config.json and one .pt')
    dualtoken.add_argument('src', help='folder with config.json and one .pt')
    dualtoken.add_argument('dst', help='run folder to write')
    dualtoken.add_argument('--siglip', metavar='DIR', help='Hugging Face SigLIP folder (default: pretrained_model of the config)')
    vila = kinds.add_parser('vila_u', help='VILA-U (arXiv 2409.04429): the folder `vision_tower` of a release')
    vila.add_argument('src', help='folder with config.json and weights')
    vila.add_argument('dst', help='run folder to write')
    vila.add_argument('--siglip', metavar='NAME|DIR', help='published SigLIP or its local folder (default: pretrained_model of the config)')
    gan = kinds.add_parser('vqgan', help='VQGAN of taming-transformers (arXiv 2012.09841) or LlamaGen (arXiv 2406.06525): one file of weights')
    gan.add_argument('src', help='.ckpt, .pt or .safetensors file')
    gan.add_argument('dst', help='run folder to write')
    gan.add_argument('--image-size', type=int, default=256, help='pixels, which the weights do not tell (default: 256)')
    args = parser.parse_args(argv)
    from dtbox.converters import run_folder
    if args.kind == 'vqgan':
        count = run_folder.convert_vqgan(args.src, args.dst, args.image_size)
    else:
        convert = dict(dualtoken=run_folder.convert_dualtoken, vila_u=run_folder.convert_vila_u)[args.kind]
        count = convert(args.src, args.dst, args.siglip)
    print(f'{args.dst}: {count / 1e6:.2f} M parameters; open it with dtbox.load({args.dst!r})')


if __name__ == '__main__':
    main()
