"""Features to codes to features. `base.py` is the contract, `codebooks/` the tables, `search.py` the exact search; one
file a method."""
from dtbox.quantizers import bsq, codebooks, fsq, ibq, joint, lfq, mcq, product, rq, simvq, vq  # noqa: F401
from dtbox.quantizers.base import Quantizer  # noqa: F401
