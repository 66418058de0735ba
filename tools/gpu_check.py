"""The same as `dtbox diagnose gpu`: python tools/gpu_check.py [--cpu] [--only PART ...] [--out DIR]"""
import sys

from dtbox.cli.diagnose import VERB


def main(argv: list[str] | None = None) -> None:
    """Run `dtbox diagnose gpu`."""
    VERB.main(['gpu', *(sys.argv[1:] if argv is None else argv)])


if __name__ == '__main__':
    main()
