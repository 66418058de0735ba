"""Named terms of the objective, and the criterion that weighs, sums and names them all.

`base.py` is the contract; `pixel.py`, `perceptual.py`, `classifier_perceptual.py`, `lpips.py`, `gram.py`,
`semantic.py`, `contrastive.py` and `commitment.py` hold terms; `adversarial.py` those of a GAN (its networks are in
`discriminators/`), `diffaug.py` what augments its images; `criterion.py` the sum.
"""
from dtbox.losses import (  # noqa: F401
    adversarial,
    classifier_perceptual,
    commitment,
    contrastive,
    diffaug,
    gram,
    lpips,
    perceptual,
    pixel,
    semantic,
)
