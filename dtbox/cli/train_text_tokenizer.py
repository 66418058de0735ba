"""dtbox train-text-tokenizer: a text tokenizer from training texts, word-level or a byte-level BPE."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_config_options, read_config
from dtbox.cli.verb import Verb
from dtbox.counts import format_count
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', metavar='CONFIG', help='config whose training texts are read')
    parser.add_argument('out', metavar='OUT', help='path of the tokenizer.json to write')
    parser.add_argument('--kind', choices=['words', 'bpe'], default='words',
                        help='words: for the text tower of a tokenizer; bpe: byte-level, for a language model that is '
                             'trained from scratch (default: words)')
    parser.add_argument('--size', type=int, default=1536, metavar='N',
                        help='most entries of a BPE, special tokens included (default: 1536)')
    parser.add_argument('--min-count', type=int, default=1, metavar='N',
                        help='of words: those seen less often become <unk> (default: 1)')
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Train the text tokenizer."""
    from dtbox.config import resolve
    from dtbox.files import check_writable, replacing
    from dtbox.mllm.sequences.text_tokenizers import TrainedBPE
    from dtbox.registry import DATASETS
    from dtbox.texts.tokenizers import train_word_tokenizer
    if os.path.lexists(args.out):
        raise InputError(f'{args.out} exists already; nothing in it was changed. Give another file.')
    check_writable(args.out)
    cfg = resolve(read_config(args))
    dataset = DATASETS.build(cfg.train_dataloader.dataset, where='train_dataloader.dataset')
    if args.kind == 'bpe':
        tokenizer = TrainedBPE(list(dataset.texts), args.size).tokenizer
    else:
        tokenizer = train_word_tokenizer(dataset.texts, args.min_count)
    with replacing(args.out) as temporary:
        tokenizer.save(temporary)
    entries = 'word' if args.kind == 'words' else 'entry'
    print(f'{args.out}: {format_count(tokenizer.get_vocab_size(), entries)} from '
          f'{format_count(len(dataset), "sample")}')


VERB = Verb(
    'train-text-tokenizer', "Train a text tokenizer, of words or a BPE, on the training texts of a config's data",
    'The file OUT (tokenizer.json), and the number of its entries.',
    'dtbox train-text-tokenizer siglip_tiny_twemoji tokenizer.json', add_arguments, run)
