"""The same as `dtbox check-tokens`: python tools/check_tokens.py OUT [--source SRC]"""
from dtbox.cli.check_tokens import VERB

main = VERB.main

if __name__ == '__main__':
    main()
