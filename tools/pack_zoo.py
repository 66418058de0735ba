"""The same as `dtbox pack-zoo`: python tools/pack_zoo.py RUN NAME"""
from dtbox.cli.pack_zoo import VERB

main = VERB.main

if __name__ == '__main__':
    main()
