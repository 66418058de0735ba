"""The same as `dtbox teacher-check`: python tools/teacher_check.py CONFIG_OR_RUN [--data CONFIG]"""
from dtbox.cli.teacher_check import VERB

main = VERB.main

if __name__ == '__main__':
    main()
