"""The same as `dtbox app`: python tools/app.py RUN"""
from dtbox.cli.app import VERB

main = VERB.main

if __name__ == '__main__':
    main()
