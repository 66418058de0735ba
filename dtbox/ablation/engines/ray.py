"""Trials on a Ray cluster: the same processes, scheduled by their CPUs and GPUs. The grid's folder must be on a file system that all nodes share."""
import os
import socket
import subprocess

from dtbox.ablation.engines import command, environment
from dtbox.errors import InputError, need_package, reason


class RayEngine:
    """Run trials on a Ray cluster.

    Args:
        threads: CPU threads of a trial; with GPUs in the cluster a trial also takes one of them.
        workers: trials at a time; None takes as many as the cluster's resources allow.
        address: of the cluster ('auto', 'HOST:PORT', 'ray://HOST:PORT'); None takes RAY_ADDRESS, or starts Ray on this machine.
    """

    def __init__(self, threads, workers=None, address=None):
        self.ray = need_package('ray', 'ray', '`--engine ray`')
        self.threads, self.remark = threads, ''
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # Ray would report to its makers
        address = address or os.environ.get('RAY_ADDRESS') or None
        self.owned = not self.ray.is_initialized()
        if address is None:  # a Ray of our own, which needs not give way to others as its workers do by default
            os.environ.setdefault('RAY_worker_niceness', '0')
        try:
            knock(address)
            if self.owned:
                self.ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False, logging_level='error')
        except Exception as e:  # ConnectionError, RuntimeError, ValueError, by version and address
            place = f'the Ray cluster at {address} cannot be reached' if address else 'Ray cannot be started on this machine'
            raise InputError(f'{place} ({reason(e)}). Check --address and that `ray status` answers there, or use --engine local.', '--engine') from e
        resources = self.ray.cluster_resources()
        self.gpus = 1 if resources.get('GPU', 0) >= 1 else 0
        fitting = int(resources.get('GPU', 0) if self.gpus else resources.get('CPU', 0) // threads)
        if fitting < 1:
            self.close()
            raise InputError(f'the Ray cluster has {resources.get("CPU", 0):g} CPUs, fewer than the {threads} threads of one trial.', '--engine')
        self.workers = workers or fitting
        self.remote = self.ray.remote(run_process).options(num_cpus=threads, num_gpus=self.gpus, max_retries=0)

    def start(self, folder):
        """Hand the trial of a folder to the cluster; its output goes to log.txt there."""
        return RayTrial(self.ray, self.remote.remote(os.path.abspath(folder), os.getcwd(), self.threads), folder)

    def close(self):
        """Leave the cluster, or stop the one that was started here."""
        if self.owned:
            self.ray.shutdown()


def knock(address, seconds=10):
    """Raise OSError where nothing listens at HOST:PORT; Ray itself would try for minutes, and may end the process."""
    host, _, port = (address or '').rpartition('://')[2].rpartition(':')
    if host and port.isdigit():
        socket.create_connection((host, int(port)), seconds).close()


class RayTrial:
    """A trial on the cluster."""

    def __init__(self, ray, ref, folder):
        self.ray, self.ref, self.folder = ray, ref, folder

    def poll(self):
        """Return the exit code, or None while it runs or waits."""
        ready, _ = self.ray.wait([self.ref], timeout=0)
        if not ready:
            return None
        try:
            return self.ray.get(self.ref)
        except self.ray.exceptions.RayError as e:  # the node or its worker died
            with open(os.path.join(self.folder, 'log.txt'), 'a') as log:
                log.write(f'{reason(e)}\n')
            return -9

    def stop(self):
        """Stop it; the kernel ends its process together with the worker."""
        self.ray.cancel(self.ref, force=True)
        self.ray.wait([self.ref], timeout=10)


def run_process(folder, cwd, threads):
    """Run a trial's process on a node and return its exit code; Ray sets CUDA_VISIBLE_DEVICES."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'{folder} is not there on this node: the grid\'s folder must be on a file system that all nodes share')
    with open(os.path.join(folder, 'log.txt'), 'ab') as log:
        return subprocess.run(command(folder), cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                              env=environment(threads)).returncode
