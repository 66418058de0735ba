"""Trials on a Ray cluster: the same processes, scheduled by their CPUs and GPUs. The grid's folder must be on a file
system that all nodes share."""
from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

from dtbox.ablation.engines.process import build_command, build_environment
from dtbox.ablation.trial import NO_ROOM
from dtbox.counts import format_count
from dtbox.errors import InputError, need_package, reason
from dtbox.files import is_disk_full
from dtbox.runs import RunFolder


class Cluster:
    """A Ray cluster that this process has joined, or started on this machine.

    Args:
        address: of the cluster ('HOST:PORT', 'ray://HOST:PORT', 'auto' for the one on this machine, 'local' to start
            one here); None takes RAY_ADDRESS, or 'local'.

    Attributes:
        ray: the package.
        gpus: GPUs that a worker takes: 1 where the cluster has some.

    Raises:
        InputError: Ray is not installed, or nothing answers at the address.
    """

    def __init__(self, address: str | None = None) -> None:
        self.ray = need_package('ray', 'ray', '`--engine ray`')
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # Ray would report to its makers
        # without an address Ray would take any cluster that it finds here
        address = address or os.environ.get('RAY_ADDRESS') or 'local'
        mine = address == 'local'
        self.owned = not self.ray.is_initialized()
        if mine:  # it needs not give way to others, as Ray's workers do by default
            os.environ.setdefault('RAY_worker_niceness', '0')
        try:
            check_address(address)
            if self.owned:
                self.ray.init(address=address, include_dashboard=False if mine else None, log_to_driver=False,
                              logging_level='error')
        except Exception as e:  # ConnectionError, RuntimeError, ValueError, by version and address
            place = f'the Ray cluster at {address} cannot be reached'
            place = 'Ray cannot be started on this machine' if mine else place
            raise InputError(f'{place} ({reason(e)}). Check --address and that `ray status` answers there, or use '
                             '--engine local.', '--engine') from e
        self.resources = self.ray.cluster_resources()
        self.gpus = 1 if self.resources.get('GPU', 0) >= 1 else 0

    def count_workers(self, threads: int, what: str) -> int:
        """Return how many workers fit at a time; leaves the cluster with an `InputError` where none does.

        Args:
            threads: CPU threads of a worker; with GPUs in the cluster it also takes one of them.
            what: a worker does, for the message.
        """
        cpus = self.resources.get('CPU', 0)
        fitting = int(self.resources.get('GPU', 0) if self.gpus else cpus // threads)
        if fitting < 1:
            self.close()
            raise InputError(f'the Ray cluster has {cpus:g} CPUs, fewer than the {format_count(threads, "thread")} of '
                             f'one {what}.', '--engine')
        return fitting

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started here."""
        if self.owned:
            self.ray.shutdown()


class RayEngine:
    """Run trials on a Ray cluster.

    Args:
        threads: CPU threads of a trial; with GPUs in the cluster a trial also takes one of them.
        workers: trials at a time; None takes as many as the cluster's resources allow.
        address: see `Cluster`.
    """

    def __init__(self, threads: int, workers: int | None = None, address: str | None = None):
        self.cluster = Cluster(address)
        self.ray = self.cluster.ray
        self.threads, self.remark = threads, ''
        fitting = self.cluster.count_workers(threads, 'trial')
        self.workers = workers or fitting
        self.remote = self.ray.remote(run_process).options(num_cpus=threads, num_gpus=self.cluster.gpus, max_retries=0)

    def start(self, folder: str) -> RayTrial:
        """Hand the trial of a folder to the cluster; its output goes to log.txt there."""
        before = measure_log_size(folder)
        return RayTrial(self.ray, self.remote.remote(os.path.abspath(folder), os.getcwd(), self.threads), folder,
                        before)

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started here."""
        self.cluster.close()


def find_last_started() -> str:
    """Return the address of the cluster that was last started on this machine, as Ray notes it for `auto`, '' where
    there is none."""
    folder = os.environ.get('RAY_TMPDIR') or sys.platform.startswith('linux') and os.environ.get('TMPDIR') or '/tmp'
    try:
        with open(os.path.join(folder, 'ray', 'ray_current_cluster')) as f:
            return f.read().strip()
    except OSError:
        return ''


def check_address(address: str, seconds: float = 10) -> None:
    """Raise OSError where nothing listens at an address; Ray itself would try for minutes or for ever, and may end the
    process."""
    host, _, port = (find_last_started() if address == 'auto' else address).rpartition('://')[2].rpartition(':')
    if host and port.isdigit():
        socket.create_connection((host, int(port)), seconds).close()


class RayTrial:
    """A trial on the cluster.

    Args:
        ray: the package.
        ref: of the task.
        folder: of the trial.
        before: size of its log before the task was handed over.
    """

    def __init__(self, ray: Any, ref: Any, folder: str, before: int):
        self.ray = ray
        self.ref = ref
        self.folder = folder
        self.before = before
        self.why = ''

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs or waits."""
        ready, _ = self.ray.wait([self.ref], timeout=0)
        if not ready:
            return None
        try:
            return self.ray.get(self.ref)
        except self.ray.exceptions.RayTaskError as e:  # the process could not be started
            self.why = reason(e.cause)
            return NO_ROOM if is_disk_full(e.cause) else 1
        except self.ray.exceptions.RayError as e:  # the node or its worker died
            self.why = reason(e)
            return -9

    def has_begun(self) -> bool:
        """Whether a node has started it: others may use the cluster, too."""
        return measure_log_size(self.folder) > self.before

    def stop(self) -> None:
        """Stop it; the kernel ends its process together with the worker."""
        self.ray.cancel(self.ref, force=True)
        self.ray.wait([self.ref], timeout=10)


def measure_log_size(folder: str) -> int:
    """Return the bytes of a trial's log, 0 where there is none."""
    try:
        return os.path.getsize(RunFolder(folder).console)
    except FileNotFoundError:
        return 0


def run_process(folder: str, cwd: str, threads: int) -> int:
    """Run a trial's process on a node and return its exit code; Ray sets CUDA_VISIBLE_DEVICES."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'{folder} is not there on this node: the grid\'s folder must be on a file system '
                                'that all nodes share')
    with open(RunFolder(folder).console, 'ab', buffering=0) as log:
        log.write(f'on {socket.gethostname()}\n'.encode())
        return subprocess.run(build_command(folder), cwd=cwd, stdin=subprocess.DEVNULL, stdout=log,
                              stderr=subprocess.STDOUT, env=build_environment(threads)).returncode
