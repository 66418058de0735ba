"""The composition: `visual.py` runs the parts, `vocabulary.py` is one named vocabulary."""
from dtbox.tokenizers import visual, vocabulary  # noqa: F401
from dtbox.tokenizers.visual import VisualTokenizer  # noqa: F401
