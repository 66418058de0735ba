"""Text towers and their tokenizers."""
from dtbox.texts import mean_pool, tokenizers, towers  # noqa: F401
