"""The same as `dtbox draw`: python tools/draw.py RUN PROMPT... --out DIR"""
from dtbox.cli.draw import VERB

main = VERB.main

if __name__ == '__main__':
    main()
