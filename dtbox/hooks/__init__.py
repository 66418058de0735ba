"""What watches a run: the log, checkpoints, results, pictures."""
from dtbox.hooks import checkpoint, conflict, log, results  # noqa: F401
from dtbox.hooks import codebook_health as codebooks  # noqa: F401
from dtbox.hooks import discriminator_health as discriminator  # noqa: F401
from dtbox.hooks import images as pictures  # noqa: F401
