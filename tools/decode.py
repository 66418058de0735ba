"""The same as `dtbox decode`: python tools/decode.py OUT --out DIR"""
from dtbox.cli.decode import VERB

main = VERB.main

if __name__ == '__main__':
    main()
