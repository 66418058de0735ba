"""What watches a run: the log, checkpoints, results, pictures."""
from dtbox.hooks import checkpoint, codebooks, conflict, discriminator, log, pictures, results  # noqa: F401
