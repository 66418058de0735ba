"""The same as `dtbox diagnose`: python tools/diagnose.py conflict|layers|atlas|semantics|time|gpu ... [--out DIR]"""
from dtbox.cli.diagnose import VERB

main = VERB.main

if __name__ == '__main__':
    main()
