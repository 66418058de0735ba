"""Tokens to one embedding [B, E] per image. README.md says what each file holds."""
from dtbox.heads import pools  # noqa: F401
