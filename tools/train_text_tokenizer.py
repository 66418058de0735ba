"""The same as `dtbox train-text-tokenizer`: python tools/train_text_tokenizer.py CONFIG OUT.json [--kind bpe]"""
from dtbox.cli.train_text_tokenizer import VERB

main = VERB.main

if __name__ == '__main__':
    main()
