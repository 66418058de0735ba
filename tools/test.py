"""The same as `dtbox test`: python tools/test.py RUN [--protocol NAME ...] [--data CONFIG], or CONFIG CHECKPOINT"""
from dtbox.cli.test import VERB

main = VERB.main

if __name__ == '__main__':
    main()
