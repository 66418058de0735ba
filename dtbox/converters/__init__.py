"""Published checkpoints to run folders: a module for each family knows its layout, `run_folder.py` writes.

UniTok's (arXiv 2502.20321) is left out: the names of the weights of its ViTamin encoder and decoder could not be known
when this was written. A module like `vila_u.py` with those names is what it takes.
"""
