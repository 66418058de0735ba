"""The same as `dtbox scale`: python tools/scale.py CONFIG [--gpus 8 64 1024] [--check]"""
from dtbox.cli.scale import VERB

main = VERB.main

if __name__ == '__main__':
    main()
