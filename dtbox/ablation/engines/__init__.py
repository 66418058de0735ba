"""Engines start trials: `local` as processes of this machine, `ray` as the same processes on a Ray cluster.

An engine has `workers`, the number of trials at a time, `remark`, what to tell the user about them, `start(folder) -> handle` and `close()`. A
handle has `poll() -> exit code or None` (negative: killed by that signal), `why`, the reason where the code does not tell it, `has_begun()`, False
while it waits for its turn, and `stop()`.
"""
import os
import sys

from dtbox.errors import InputError


def make_engine(name, threads, workers=None, address=None):
    """Return an engine by name.

    Args:
        name: 'local' or 'ray'.
        threads: CPU threads of a trial.
        workers: trials at a time; None takes as many as the cores or GPUs allow.
        address: of the Ray cluster; None takes the one that RAY_ADDRESS names, or starts one on this machine.
    """
    if workers is not None and (type(workers) is not int or workers < 1):
        raise InputError(f'{workers!r} workers; expected a whole number of at least 1.', '--workers')
    if name == 'local':
        if address:
            raise InputError('--address is of a Ray cluster; it goes with --engine ray.', '--address')
        from dtbox.ablation.engines.local import LocalEngine
        return LocalEngine(threads, workers)
    if name == 'ray':
        from dtbox.ablation.engines.ray import RayEngine
        return RayEngine(threads, workers, address)
    raise InputError(f'there is no engine `{name}`; choose local or ray.', '--engine')


def command(folder):
    """Return the command line of a trial's process, to be started by this one."""
    return [sys.executable, '-m', 'dtbox.ablation.trial', folder, str(os.getpid())]


def environment(threads, device=None):
    """Return the environment of a trial's process: this one's, with `threads` for every library that would otherwise take all cores.

    Args:
        threads: CPU threads.
        device: what CUDA_VISIBLE_DEVICES is to be, or None to leave it.
    """
    import dtbox
    env = dict(os.environ)
    env.update({name: str(threads) for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMEXPR_NUM_THREADS')})
    root = os.path.dirname(os.path.dirname(os.path.abspath(dtbox.__file__)))
    env['PYTHONPATH'] = os.pathsep.join(p for p in (root, os.environ.get('PYTHONPATH')) if p)
    if device is not None:
        env['CUDA_VISIBLE_DEVICES'] = device
    return env
