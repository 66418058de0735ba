"""Text towers and their tokenizers."""
from dtbox.texts import tokenizers, towers  # noqa: F401
