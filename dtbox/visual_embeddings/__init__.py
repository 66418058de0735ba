"""Codes of images to inputs of a language model. README.md says what each file holds."""
from dtbox.visual_embeddings import codes, features, learned  # noqa: F401
