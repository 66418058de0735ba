"""The composition of parts to a tokenizer. README.md says what each file holds."""
from dtbox import processes  # noqa: F401  a fork of a process that has a tokenizer computes on one thread
from dtbox.tokenizers import visual, vocabulary  # noqa: F401
from dtbox.tokenizers.visual import VisualTokenizer  # noqa: F401
