"""Language models. README.md says what each file holds."""
from dtbox.lms import hf  # noqa: F401
