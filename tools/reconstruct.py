"""The same as `dtbox reconstruct`: python tools/reconstruct.py RUN IMAGE... --out DIR"""
from dtbox.cli.reconstruct import VERB

main = VERB.main

if __name__ == '__main__':
    main()
