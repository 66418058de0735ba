"""The same as `dtbox score-drawings`: python tools/score_drawings.py DRAWINGS REAL --protocol rfid_clean"""
from dtbox.cli.score_drawings import VERB

main = VERB.main

if __name__ == '__main__':
    main()
