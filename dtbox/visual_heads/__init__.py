"""Hidden states of a language model to codes of images. README.md says what each file holds."""
from dtbox.visual_heads import delay, depth, flatten, parallel  # noqa: F401
