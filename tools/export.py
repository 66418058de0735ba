"""Give a tokenizer away: python tools/export.py RUN --to pretrained|torch|onnx --out DIR"""
import argparse

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_plugin_option


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Write a run\'s tokenizer as a folder of config.json, model.safetensors and tokenizer.json '
                                                 '(dtbox.Tokenizer.from_pretrained), or its encoding and decoding as torch.export or ONNX graphs '
                                                 'with a free batch size.')
    parser.add_argument('run', help='run folder')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint (default: that of the run folder)')
    parser.add_argument('--to', choices=['pretrained', 'torch', 'onnx'], required=True, help='what to write')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write; nothing in it is overwritten')
    add_plugin_option(parser)
    args = parser.parse_args(argv)
    import dtbox
    from dtbox.apis.export import export_to
    tokenizer = dtbox.load(args.run, args.checkpoint, plugins=args.plugin)
    if args.to == 'pretrained':
        tokenizer.save_pretrained(args.out)
        print(f'written to {args.out}; open it with dtbox.Tokenizer.from_pretrained({args.out!r})')
    else:
        print('\n'.join(f'written to {path}' for path in export_to(tokenizer, args.out, args.to)))


if __name__ == '__main__':
    main()
