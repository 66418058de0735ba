"""Child processes of tests: they end with the process that runs the test, also when that is killed.

`start_child` and `run_child` start a program. `fork_child` and `run_fork` start a Python script as a fork of a process
that has imported torch and what a training needs, which saves three seconds of one CPU each.
"""
from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection

from dtbox.processes import end_with_parent

FORKS = multiprocessing.get_context('forkserver')
"""Its server is a process that has imported `tests.preloaded`; one for each process that runs tests."""
FORKS.set_forkserver_preload(['tests.preloaded'])


def start_child(command, **options):
    """Start a command as `subprocess.Popen` does; returns it. A killed test leaves no child behind (Linux)."""
    parent = os.getpid()
    return subprocess.Popen(command, preexec_fn=lambda: end_with_parent(parent), **options)


def run_child(command, **options):
    """Run a command to its end with its output as text; returns subprocess.CompletedProcess."""
    parent = os.getpid()
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: end_with_parent(parent),
                          **options)


class ForkedChild:
    """A Python script in a process of its own, which has imported torch and dtbox before it starts; the interface is
    that of `subprocess.Popen`.

    Variables that torch reads when it is imported are those of this process: a test of them needs `start_child`.

    Args:
        words: what follows `python` on a command line: SCRIPT or -m MODULE, and arguments.
        env: all variables of the process; None: those of this one.
        cwd: its folder; None: that of this process.
        stdout, stderr: a file, its number, or one of subprocess's DEVNULL, PIPE and (stderr) STDOUT; None: that of this
            process. `communicate` returns what came to a PIPE.
    """

    def __init__(self, words: list[str], env: dict | None = None, cwd=None, stdout=None, stderr=None) -> None:
        self.args, self._pipes = [str(word) for word in words], {}
        with contextlib.ExitStack() as files:
            out = self._open(1, stdout, files)
            err = out if stderr == subprocess.STDOUT else self._open(2, stderr, files)
            self._process = FORKS.Process(target=_run, args=(self.args, dict(os.environ if env is None else env),
                                                             cwd or os.getcwd(), _share(out), _share(err)))
            self._process.start()
        self.pid = self._process.pid
        atexit.register(self.kill)

    def _open(self, number, target, files):
        """Return the number of the open file that a stream of the child is to write to."""
        if target == subprocess.PIPE:
            self._pipes[number] = tempfile.TemporaryFile()  # a file holds any amount, and needs no reader
            return self._pipes[number].fileno()
        if target == subprocess.DEVNULL:
            return files.enter_context(open(os.devnull, 'wb')).fileno()
        return number if target is None else target if isinstance(target, int) else target.fileno()

    @property
    def returncode(self) -> int | None:
        """The exit code, None before the end was noticed, negative for a signal."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        atexit.unregister(self.kill)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """Wait for the end; returns what came to stdout and to stderr as text, None where that was not a PIPE."""
        self.wait(timeout)
        texts = {}
        for number, file in self._pipes.items():
            file.seek(0)
            texts[number] = file.read().decode(errors='replace')
        return texts.get(1), texts.get(2)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM, unless it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


fork_child = ForkedChild
"""Start a Python script as a fork: as `start_child` for a command."""


def run_fork(words, env=None, cwd=None):
    """Run a Python script to its end as a fork, with its output as text; returns subprocess.CompletedProcess."""
    child = fork_child(words, env, cwd, subprocess.PIPE, subprocess.PIPE)
    out, err = child.communicate()
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def _share(number):
    """Return an open file as an object that travels to another process."""
    return Connection(os.dup(number), readable=False)


def _run(words, env, folder, out, err):
    """What the fork does: become the process that `python WORDS` would be."""
    end_with_parent()
    from tests.preloaded import THREADS
    for stream, number, name in ((out, 1, 'stdout'), (err, 2, 'stderr')):
        os.dup2(stream.fileno(), number)
        stream.close()
        setattr(sys, name, open(number, 'w', buffering=1, errors='backslashreplace', closefd=False))
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # TMPDIR of `env` counts
    os.chdir(folder)
    sys.modules['torch'].set_num_threads(int(env.get('OMP_NUM_THREADS') or THREADS))
    if words[0] == '-m':
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name='__main__', alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name='__main__')


def is_running(pid):
    """Whether a process runs (Linux): it exists, and has not ended with nobody to notice."""
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False
