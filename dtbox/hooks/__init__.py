"""What watches a run: the log, checkpoints, results, images, and what a language model draws and says."""
from dtbox.hooks import (  # noqa: F401
    checkpoint,
    codebook_health,
    conflict,
    conversation_sheets,
    discriminator_health,
    images,
    log,
    results,
)
