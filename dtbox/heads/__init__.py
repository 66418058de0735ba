"""Tokens to one embedding [B, E] per image. A head gets the encoder and its tokens after the last block."""
from dtbox.heads import pools  # noqa: F401
