"""Features to codes to features. `base.py` is the contract, `codebooks/` the tables, `search.py` the exact search; one
file a method."""
from dtbox.quantizers import (  # noqa: F401
    bsq,
    codebooks,
    fsq,
    ibq,
    joint,
    kl,
    lfq,
    mcq,
    multi_scale,
    no_quantizer,
    product,
    rq,
    scale_wise,
    simvq,
    vq,
)
from dtbox.quantizers.base import Quantizer  # noqa: F401
from dtbox.quantizers.continuous import ContinuousQuantizer  # noqa: F401
