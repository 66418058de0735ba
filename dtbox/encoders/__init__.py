"""Images to tokens per layer, staged. README.md says what each file holds."""
from dtbox.encoders import atoken, cnn, latent_vit, magvit2, maskgit, open_clip_tower, siglip, timm_vit  # noqa: F401
from dtbox.encoders.base import Encoder  # noqa: F401
