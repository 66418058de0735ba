"""The same as `dtbox ablate`: python tools/ablate.py GRID [--workers N] [--resume] [--only PATTERN] [--dry-run]"""
from dtbox.cli.ablate import VERB

main = VERB.main

if __name__ == '__main__':
    main()
