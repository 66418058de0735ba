"""Named terms of the objective, and the criterion that weighs, sums and names them all.

`base.py` is the contract; `pixel.py`, `perceptual.py`, `lpips.py`, `semantic.py`, `contrastive.py` and `commitment.py`
hold terms; `adversarial.py` those of a GAN (its networks are in `discriminators/`); `criterion.py` the sum.
"""
from dtbox.losses import adversarial, commitment, contrastive, lpips, perceptual, pixel, semantic  # noqa: F401
