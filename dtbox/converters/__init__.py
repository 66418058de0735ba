"""Published checkpoints to run folders: a module for each family knows its layout, `run_folder.py` writes."""
