"""Text towers and their tokenizers. README.md says what each file holds."""
from dtbox.texts import class_names, mean_pool, siglip, tokenizers, towers  # noqa: F401
