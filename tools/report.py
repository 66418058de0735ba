"""The same as `dtbox report`: python tools/report.py GRID_DIR, or RUN RUN ... --out DIR"""
from dtbox.cli.report import VERB

main = VERB.main

if __name__ == '__main__':
    main()
