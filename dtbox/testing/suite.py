"""Three ways to run the contract of a part: a report, one assertion, one pytest test a check."""
from __future__ import annotations

import contextlib
import os
import time
import traceback
from dataclasses import dataclass
from typing import Callable, Iterator, Sequence

import torch

from dtbox.extend import load_plugins
from dtbox.testing.contract import Contract
from dtbox.testing.contracts import CONTRACTS, find_kind, get_contract
from dtbox.testing.rank_group import Ranks
from dtbox.testing.subject import Broken, DoesNotApply, Subject


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


def run_check(contract: Contract, name: str, subject: Subject) -> CheckResult:
    """Run one check, whatever it raises, without moving the global random state."""
    begin = time.perf_counter()
    status = 'holds'
    detail = ''
    with torch.random.fork_rng(devices=[]):
        try:
            with _explain_missing_kernel():
                contract.checks[name](subject)
        except DoesNotApply as e:
            status, detail = 'does not apply', str(e)
        except Broken as e:
            status, detail = 'fails', str(e)
        except Exception as e:
            status, detail = 'fails', f'raised {type(e).__name__}: {e}{_find_place(e)}'
    if status == 'fails':
        detail = f'{_shorten(detail)} Asked: {" ".join((contract.checks[name].__doc__ or "").split())}'
    return CheckResult(name, status, detail, time.perf_counter() - begin)


@contextlib.contextmanager
def _explain_missing_kernel() -> Iterator[None]:
    """Where ATEN_CPU_CAPABILITY chooses older kernels than the processor has, torch's bfloat16 attention refuses to
    run: no fault of the part."""
    try:
        yield
    except RuntimeError as e:
        if 'pack_vnni2 is only supported' not in str(e):
            raise
        capability = os.environ.get('ATEN_CPU_CAPABILITY', 'of this machine')
        raise DoesNotApply(f'torch has no bfloat16 attention for the CPU kernels `{capability}`') from e


def _shorten(text: str, most: int = 400) -> str:
    """Return a text on one line, cut where it is long."""
    text = ' '.join(text.split())
    return text if len(text) <= most else f'{text[:most]} ...'


def _find_place(error: Exception) -> str:
    """Return where, outside of dtbox and torch, an exception came from: ' (FILE:LINE)', or ''."""
    frames = [f for f in traceback.extract_tb(error.__traceback__)
              if not any(part in f.filename for part in ('/torch/', '/dtbox/', '<'))]
    return f' ({frames[-1].filename}:{frames[-1].lineno}).' if frames else '.'


def run_checks(cfg: dict, plugins: str | Sequence[str] = (), only: Sequence[str] | None = None,
               skip: Sequence[str] = (),
               ranks: Ranks | None = None, kind: str | None = None) -> list[CheckResult]:
    """Run the contract's checks on a part.

    Args:
        cfg: config of the part: dict with `type` and small arguments, or `type` alone for those of its `example`.
        plugins: the plugins that register it.
        only: names of the checks to run; None runs all.
        skip: names of checks to leave out.
        ranks: the `Ranks` for checks of two ranks; None takes two that this process starts once and keeps.
        kind: of the part, such as 'encoder'; None finds it by the registry that has the name.

    Returns:
        list of CheckResult, in the order of the contract.

    Raises:
        InputError: the part cannot be built, or the name of a check or of the kind is wrong.
    """
    contract = _find_contract(cfg, plugins, kind)
    names = contract.choose(only, skip)
    with torch.random.fork_rng(devices=[]):
        subject = contract.subject(cfg, plugins, ranks)
    return [run_check(contract, name, subject) for name in names]


def _find_contract(cfg: dict, plugins: str | Sequence[str], kind: str | None) -> Contract:
    load_plugins(plugins)
    return get_contract(find_kind(cfg['type']) if kind is None else kind)


def check_part(cfg: dict, plugins: str | Sequence[str] = (), only: Sequence[str] | None = None,
               skip: Sequence[str] = (),
               ranks: Ranks | None = None, kind: str | None = None) -> None:
    """Raise an AssertionError that lists every check which fails, with what is wrong. Arguments as of `run_checks`."""
    failed = [r for r in run_checks(cfg, plugins, only, skip, ranks, kind) if r.status == 'fails']
    if failed:
        lines = '\n'.join(f'  {r.name}: {r.detail}' for r in failed)
        raise AssertionError(f'{cfg} breaks {len(failed)} of the contract\'s checks:\n{lines}')


def make_part_checks(kind: str, cfg: dict, plugins: str | Sequence[str] = (), only: Sequence[str] | None = None,
                     skip: Sequence[str] = (), ranks: Ranks | None = None) -> Callable:
    """Return a pytest test with one case a check; assign it to a name that begins with `test`.

    Args:
        kind: of the part, such as 'encoder'.
        cfg, plugins, only, skip, ranks: as of `run_checks`.
    """
    import pytest
    contract = get_contract(kind)

    @pytest.mark.parametrize('name', contract.choose(only, skip))
    def test(name: str) -> None:
        with torch.random.fork_rng(devices=[]):
            try:
                with _explain_missing_kernel():
                    contract.checks[name](contract.subject(cfg, plugins, ranks))
            except DoesNotApply as e:
                pytest.skip(str(e))
    return test


def list_examples(kind: str = 'quantizer') -> dict[str, dict]:
    """Return name -> config of every registered part of a kind that has an `example`: the arguments of a small
    instance."""
    return CONTRACTS[kind].examples()
