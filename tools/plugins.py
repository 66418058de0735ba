"""The same as `dtbox plugins`: python tools/plugins.py list, new KIND NAME, or check NAME_OR_CONFIG"""
from dtbox.cli.plugins import VERB

main = VERB.main

if __name__ == '__main__':
    main()
