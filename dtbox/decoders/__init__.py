"""Features of vocabularies to images. README.md says what each file holds."""
from dtbox.decoders import atoken, cnn, light, magvit2, mask_token, maskgit, movq, pixel_heads, rae, timm_vit, vitamin  # noqa: F401
