"""The same as `dtbox export-tokens`: python tools/export_tokens.py OUT --to bin --out DIR"""
from dtbox.cli.export_tokens import VERB

main = VERB.main

if __name__ == '__main__':
    main()
