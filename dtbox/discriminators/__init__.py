"""Discriminators: networks that tell images from reconstructions. `patch.py` is DualToken's, `stylegan.py` StyleGAN2's,
`features.py` reads a frozen transformer, as VAR's and UniTok's do; the adversarial terms are in `losses/`."""
from dtbox.discriminators import features, patch, stylegan  # noqa: F401
