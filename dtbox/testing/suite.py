"""The contract of quantizers as a list of checks, and three ways to run it: a report, one assertion, one pytest test a check."""
import time
import traceback
from dataclasses import dataclass

import torch

from dtbox.errors import InputError, closest
from dtbox.registry import QUANTIZERS
from dtbox.testing import gradient_checks as gradients
from dtbox.testing import input_checks as inputs
from dtbox.testing import output_checks as outputs
from dtbox.testing import state_checks as training
from dtbox.testing.subject import Broken, DoesNotApply, Subject

CHECKS = {check.__name__: check for check in (
    outputs.sizes, outputs.shapes, outputs.dtypes, outputs.decode_equals_forward, outputs.code_range, outputs.codes_stand_alone, outputs.autocast,
    outputs.losses, outputs.copies, outputs.settles,
    inputs.empty_batches, inputs.refuses_non_finite, inputs.refuses_wrong_shapes, inputs.refuses_wrong_codes,
    gradients.gradient_reaches_input, gradients.straight_through, gradients.parameters_get_gradient, gradients.encode_builds_no_graph,
    gradients.checkpointing,
    training.evaluation_leaves_state, training.forward_leaves_state, training.skipped_step, training.reproducible, training.state_dict,
    training.accumulation, training.memory, training.two_ranks)}
"""Name -> check: a function of a `Subject` that raises `Broken` or `DoesNotApply`; its docstring says what the contract asks."""


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: of the check.
        status: 'holds', 'fails' or 'does not apply'.
        detail: what is wrong, or why the check does not apply; '' where it holds.
        seconds: that it took.
    """
    name: str
    status: str
    detail: str
    seconds: float


def choose(only=None, skip=()):
    """Return the names of the checks to run, in order; `InputError` for a name that is none."""
    for name in [*(only or ()), *skip]:
        if name not in CHECKS:
            raise InputError(f'`{name}` is no check.{closest(name, CHECKS)} Checks: {", ".join(CHECKS)}.')
    return [name for name in CHECKS if (only is None or name in only) and name not in skip]


def run_check(name, subject):
    """Run one check, whatever it raises, without moving the global random state: CheckResult."""
    begin, status, detail = time.perf_counter(), 'holds', ''
    with torch.random.fork_rng(devices=[]):
        try:
            CHECKS[name](subject)
        except DoesNotApply as e:
            status, detail = 'does not apply', str(e)
        except Broken as e:
            status, detail = 'fails', str(e)
        except Exception as e:
            status, detail = 'fails', f'raised {type(e).__name__}: {e}{place(e)}'
    if status == 'fails':
        detail = f'{shortened(detail)} Asked: {" ".join(CHECKS[name].__doc__.split())}'
    return CheckResult(name, status, detail, time.perf_counter() - begin)


def shortened(text, most=400):
    """Return a text on one line, cut where it is long."""
    text = ' '.join(text.split())
    return text if len(text) <= most else f'{text[:most]} ...'


def place(error):
    """Return where, outside of dtbox and torch, an exception came from: ' (FILE:LINE)', or ''."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(part in f.filename for part in ('/torch/', '/dtbox/', '<'))]
    return f' ({frames[-1].filename}:{frames[-1].lineno}).' if frames else '.'


def run_checks(cfg, plugins=(), only=None, skip=(), ranks=None):
    """Run the contract's checks on a quantizer.

    Args:
        cfg: config of the quantizer: dict with `type` and small arguments, or `type` alone for those of its `example`.
        plugins: the plugins that register it.
        only: names of the checks to run; None runs all.
        skip: names of checks to leave out.
        ranks: the `Ranks` for the check of two processes; None takes two that this process starts once and keeps.

    Returns:
        list of CheckResult, in the order of `CHECKS`.

    Raises:
        InputError: the quantizer cannot be built, or a check's name is wrong.
    """
    names = choose(only, skip)
    with torch.random.fork_rng(devices=[]):
        subject = Subject(cfg, plugins, ranks)
    return [run_check(name, subject) for name in names]


def check_quantizer(cfg, plugins=(), only=None, skip=(), ranks=None):
    """Raise an AssertionError that lists every check which fails, with what is wrong. Arguments as of `run_checks`."""
    failed = [r for r in run_checks(cfg, plugins, only, skip, ranks) if r.status == 'fails']
    if failed:
        raise AssertionError(f'{cfg} breaks {len(failed)} of the contract\'s checks:\n' + '\n'.join(f'  {r.name}: {r.detail}' for r in failed))


def quantizer_checks(cfg, plugins=(), only=None, skip=(), ranks=None):
    """Return a pytest test with one case a check; assign it to a name that begins with `test`. Arguments as of `run_checks`."""
    import pytest

    @pytest.mark.parametrize('name', choose(only, skip))
    def test(name):
        with torch.random.fork_rng(devices=[]):
            try:
                CHECKS[name](Subject(cfg, plugins, ranks))
            except DoesNotApply as e:
                pytest.skip(str(e))
    return test


def examples():
    """Return name -> config of every registered quantizer that has an `example`: the arguments of a small instance."""
    QUANTIZERS.import_from_location()
    return {name: dict(type=name, **cls.example) for name, cls in sorted(QUANTIZERS.module_dict.items()) if getattr(cls, 'example', None)}
