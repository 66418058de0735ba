"""Images to tokens per layer, staged. README.md says what each file holds."""
from dtbox.encoders import (  # noqa: F401
    atoken,
    classifier,
    cnn,
    latent_vit,
    magvit2,
    maskgit,
    open_clip_tower,
    siglip,
    timm_vit,
)
from dtbox.encoders.base import Encoder  # noqa: F401
