"""The same as `dtbox encode`: python tools/encode.py RUN SRC OUT"""
from dtbox.cli.encode import VERB

main = VERB.main

if __name__ == '__main__':
    main()
