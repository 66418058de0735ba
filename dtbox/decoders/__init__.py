"""Features of vocabularies to images. README.md says what each file holds."""
from dtbox.decoders import (  # noqa: F401
    atoken,
    cnn,
    light,
    magvit2,
    mask_token,
    maskgit,
    movq,
    pixel_heads,
    rae,
    timm_vit,
    vitamin,
)
