"""Make a word-level text tokenizer from the training texts of a config's data:

    python tools/train_text_tokenizer.py configs/siglip_tiny_twemoji.py OUT.json [--min-count N]
"""
import argparse

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, read_config


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Make a word-level tokenizer.json from training texts.')
    parser.add_argument('config')
    parser.add_argument('out', help='path of the tokenizer.json to write')
    parser.add_argument('--min-count', type=int, default=1, help='words seen less often become <unk>')
    add_config_options(parser)
    args = parser.parse_args(argv)
    from dtbox.config import resolve
    from dtbox.files import replacing
    from dtbox.registry import DATASETS
    from dtbox.texts.tokenizers import train_word_tokenizer
    cfg = resolve(read_config(args))
    dataset = DATASETS.build(cfg.train_dataloader.dataset, where='train_dataloader.dataset')
    tokenizer = train_word_tokenizer(dataset.texts, args.min_count)
    with replacing(args.out) as temporary:
        tokenizer.save(temporary)
    print(f'{args.out}: {tokenizer.get_vocab_size()} words from {len(dataset)} samples')


if __name__ == '__main__':
    main()
