"""The same as `dtbox check-data`: python tools/check_data.py CONFIG [--cfg-options data_root=PATH]"""
from dtbox.cli.check_data import VERB

main = VERB.main

if __name__ == '__main__':
    main()
