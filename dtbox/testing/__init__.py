"""Contract suites for authors of parts, to be called from any pytest.

    from dtbox.testing import quantizer_checks
    test_contract = quantizer_checks(dict(type='MyQuantizer', dim=8), plugins=['plugins/mine'])

`suite.py` runs the checks; `outputs.py`, `inputs.py`, `training.py` and `gradients.py` hold them, a function each;
`subject.py` is what they share, `rank_group.py` the processes of the check of two ranks.
"""
from dtbox.testing.rank_group import RankError, Ranks  # noqa: F401
from dtbox.testing.suite import CHECKS, CheckResult, check_quantizer, examples, quantizer_checks, run_checks  # noqa: F401
