"""The same as `dtbox serve`: python tools/serve.py RUN"""
from dtbox.cli.serve import VERB

main = VERB.main

if __name__ == '__main__':
    main()
