"""The same as `dtbox convert`: python tools/convert_checkpoint.py KIND SRC DST"""
from dtbox.cli.convert import VERB

main = VERB.main

if __name__ == '__main__':
    main()
