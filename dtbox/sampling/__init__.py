"""From logits to ids, of text and of codes alike: temperature, top-k, top-p, a draw of each row's own, guidance.

`rule.py` says what is set, `filters.py` what is left out, `draws.py` how a row is drawn, `guidance.py` how conditional
and unconditional logits meet; `sampler.py` does all of it for the codes of one place.
"""
from dtbox.sampling.draws import draw, draw_uniforms, seed_generator  # noqa: F401
from dtbox.sampling.filters import filter_logits  # noqa: F401
from dtbox.sampling.guidance import Guidance, guide  # noqa: F401
from dtbox.sampling.rule import Choice, SamplingRule  # noqa: F401
from dtbox.sampling.sampler import Sampler  # noqa: F401
