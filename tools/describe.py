"""The same as `dtbox describe`: python tools/describe.py CONFIG [--gpus 8 --memory 80]"""
from dtbox.cli.describe import VERB

main = VERB.main

if __name__ == '__main__':
    main()
