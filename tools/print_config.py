"""The same as `dtbox print-config`: python tools/print_config.py CONFIG [--resolved]"""
from dtbox.cli.print_config import VERB

main = VERB.main

if __name__ == '__main__':
    main()
