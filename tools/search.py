"""The same as `dtbox search`: python tools/search.py OUT --image IMAGE"""
from dtbox.cli.search import VERB

main = VERB.main

if __name__ == '__main__':
    main()
