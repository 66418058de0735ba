"""What watches a run: the log, checkpoints, results, pictures."""
from dtbox.hooks import checkpoint, log, results  # noqa: F401
