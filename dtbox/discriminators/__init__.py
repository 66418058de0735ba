"""Discriminators: networks that tell images from reconstructions. `patch.py` is DualToken's; the adversarial terms are
in `losses/`."""
from dtbox.discriminators import patch  # noqa: F401
