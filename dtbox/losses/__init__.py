"""Named terms of the objective, the discriminator, and the criterion that weighs, sums and names them all.

`base.py` is the contract; `pixel.py`, `perceptual.py`, `lpips.py`, `semantic.py`, `contrastive.py` and `commitment.py` hold terms;
`discriminator.py` and `adversarial.py` the GAN; `criterion.py` the sum.
"""
from dtbox.losses import adversarial, commitment, contrastive, discriminator, lpips, perceptual, pixel, semantic  # noqa: F401
