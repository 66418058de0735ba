"""The composition: `visual.py` runs the parts, `vocabulary.py` is one named vocabulary; README.md says what the others
do."""
from dtbox.tokenizers import visual, vocabulary  # noqa: F401
from dtbox.tokenizers.visual import VisualTokenizer  # noqa: F401
