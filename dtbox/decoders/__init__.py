"""Features of one or more vocabularies to images. `base.py` is the contract, `cnn.py` the published decoder, `light.py`
two for the CPU."""
from dtbox.decoders import cnn, light  # noqa: F401
