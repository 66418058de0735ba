"""The same as `dtbox train`: python tools/train.py CONFIG [--work-dir DIR] [--resume] [--cfg-options KEY=VALUE ...]"""
from dtbox.cli.train import VERB

main = VERB.main

if __name__ == '__main__':
    main()
