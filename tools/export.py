"""The same as `dtbox export`: python tools/export.py RUN --to pretrained|torch|onnx --out DIR"""
from dtbox.cli.export import VERB

main = VERB.main

if __name__ == '__main__':
    main()
