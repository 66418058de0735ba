"""Published checkpoints in and out: `dualtoken.py` knows the layout, `renaming.py` accounts for keys, `run_folder.py` writes."""
