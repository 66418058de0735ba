"""The same as `dtbox show-sample`: python tools/show_sample.py CONFIG"""
from dtbox.cli.show_sample import VERB

main = VERB.main

if __name__ == '__main__':
    main()
