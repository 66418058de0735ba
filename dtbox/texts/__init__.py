"""Text towers and their tokenizers."""
from dtbox.texts import mean_pool, siglip, tokenizers, towers  # noqa: F401
