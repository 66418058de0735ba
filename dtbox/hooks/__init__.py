"""What watches a run: the log, checkpoints, results, images."""
from dtbox.hooks import checkpoint, codebook_health, conflict, discriminator_health, images, log, results  # noqa: F401
