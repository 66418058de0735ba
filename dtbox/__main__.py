# PYTHON_ARGCOMPLETE_OK
"""python -m dtbox VERB, and torchrun -m dtbox train."""
from dtbox.cli.main import main

if __name__ == '__main__':
    main()
