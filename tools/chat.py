"""The same as `dtbox chat`: python tools/chat.py RUN"""
from dtbox.cli.chat import VERB

main = VERB.main

if __name__ == '__main__':
    main()
