"""Features to codes to features. `base.py` is the contract, `codebooks/` the tables, `search.py` the exact search; one
file a method."""
from dtbox.quantizers import (  # noqa: F401
    bsq,
    codebooks,
    fsq,
    ibq,
    joint,
    lfq,
    mcq,
    multi_scale,
    rq,
    scale_wise,
    simvq,
    vq,
)
from dtbox.quantizers.base import Quantizer  # noqa: F401
