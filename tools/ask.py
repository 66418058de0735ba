"""The same as `dtbox ask`: python tools/ask.py RUN IMAGE... QUESTION"""
from dtbox.cli.ask import VERB

main = VERB.main

if __name__ == '__main__':
    main()
