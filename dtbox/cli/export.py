"""dtbox export: write a model for use elsewhere."""
from __future__ import annotations

import argparse

from dtbox.cli.options import add_plugin_option
from dtbox.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('run', metavar='RUN', help='run folder')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT',
                        help='checkpoint (default: that of the run folder)')
    parser.add_argument('--to', choices=['pretrained', 'torch', 'onnx'], required=True, help='what to write')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write; nothing in it is overwritten')
    parser.add_argument('--license', metavar='ID',
                        help='pretrained: identifier of the licence for the model card, such as apache-2.0 (default: '
                             'that of converted weights)')
    parser.add_argument('--dataset', metavar='OWNER/NAME', action='append',
                        help='pretrained: data set on the Hugging Face hub that it was trained on, for the model card; '
                             'may be given several times (default: those of the run that are known)')
    add_plugin_option(parser)


def run(args: argparse.Namespace) -> None:
    """Export."""
    import dtbox
    from dtbox.apis.export import export_to
    from dtbox.apis.model_card import export_folder
    from dtbox.apis.opening import TOKENIZER, check_use
    opened = dtbox.load(args.run, args.checkpoint, plugins=args.plugin)
    if args.to == 'pretrained':
        export_folder(opened, args.out, args.run, args.license, args.dataset)
        print(f'written to {args.out}; open it with dtbox.load({args.out!r}), or with AutoModel of transformers')
    else:
        check_use(opened.use, TOKENIZER, args.run)
        assert isinstance(opened, dtbox.Tokenizer)
        print('\n'.join(f'written to {path}' for path in export_to(opened, args.out, args.to)))


VERB = Verb(
    'export', "Write a run's model as one folder, or its tokenizer as torch.export or ONNX graphs",
    'pretrained: what save_pretrained writes, for dtbox.load, with a model card and dtbox_auto.py, by which '
    'AutoModel.from_pretrained(DIR, trust_remote_code=True) of transformers opens it. torch, onnx: graphs of encoding '
    'and decoding with a free batch size; a decoder that texts guide has the input text_tokens, which '
    'model.text.tokens(model.text.ids(texts)) gives.',
    'dtbox export work_dirs/dualtoken_rq --to onnx --out exported', add_arguments, run)
