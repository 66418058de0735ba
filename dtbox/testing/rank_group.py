"""A group of ranks that stays alive for many jobs.

The ranks form one gloo group (found through a file), made once: groups made and ended for each job would race each
other. A rank that raises, dies or does not answer ends the job with a `RankError`, and all ranks with it: nobody knows
what the others still wait for. The next job starts new ranks. Ranks end with the process that started them, also when
it is killed.
"""
from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import wait
from typing import Any, Callable

from dtbox.counts import format_count
from dtbox.processes import end_with_parent

GRACE = 1.0
"""Seconds that the other ranks have left to say what went wrong, once one has failed."""


class RankError(RuntimeError):
    """A rank raised, died or did not answer; the message says which, and why."""


class Ranks:
    """Ranks, each a process, that run functions together.

    The first `run` starts them. They end with `close`, with the `with` block, or with this process, however it ends.

    Args:
        world: number of ranks.
        timeout: seconds that one job may take.

    Attributes:
        method: how the ranks start, in the words of `multiprocessing`. 'forkserver' is faster for many groups; its
            server must have computed nothing, and must end with this process (`dtbox.processes.end_with_parent` in a
            module that it preloads), as the ranks end with the server.
    """
    method = 'spawn'

    def __init__(self, world: int = 2, timeout: float = 120.0) -> None:
        self.world, self.timeout = world, timeout
        self.processes = []
        self.pipes = []
        self.folder = None

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Call `function(rank, world, *args)` in every rank, inside a gloo process group.

        Args:
            function: of a module that the ranks can import; results and arguments must be picklable.

        Returns:
            list of what each rank returned.

        Raises:
            RankError: a rank raised, died or did not answer in time.
        """
        job = pickle.dumps((function, args))
        if not all(process.is_alive() for process in self.processes):  # killed from outside since the last job
            self.close()
        if not self.processes:
            self._start()
        try:
            for pipe in self.pipes:
                with suppress(ConnectionError):  # a rank that is dead already is found in `_answers`
                    pipe.send((os.getcwd(), sys.path, job))
            answers = self._answers()
            failed = [text for fine, text in answers.values() if not fine]
            if failed:
                raise RankError(' '.join(failed))
        except BaseException:
            self.close()
            raise
        return [answers[rank][1] for rank in range(self.world)]

    def _start(self):
        context = multiprocessing.get_context(self.method)
        parent = os.getpid() if self.method == 'spawn' else None  # another one's parent is its server
        self.folder = tempfile.TemporaryDirectory(prefix='dtbox-ranks-')
        for rank in range(self.world):
            pipe, far = context.Pipe()
            store = os.path.join(self.folder.name, 'group')
            process = context.Process(target=_serve, args=(rank, self.world, self.timeout, store, far, parent),
                                      daemon=True)
            process.start()
            far.close()
            self.processes.append(process), self.pipes.append(pipe)
        atexit.register(self.close)

    def _answers(self):
        """Wait for every rank: dict rank -> (True, result) or (False, what went wrong), in the order of arrival."""
        answers, deadline = {}, time.monotonic() + self.timeout
        while len(answers) < self.world:
            missing = [r for r in range(self.world) if r not in answers]
            if not wait([self.pipes[r] for r in missing], max(0.0, deadline - time.monotonic())):
                complaints = ' '.join(text for fine, text in answers.values() if not fine)
                raise RankError(complaints or f'of {format_count(self.world, "rank")}, {missing} did not answer within '
                                f'{self.timeout:g} '
                                'seconds.')
            for rank in missing:
                if self.pipes[rank].poll():
                    answers[rank] = self._answer(rank)
            if not all(fine for fine, _ in answers.values()):
                deadline = min(deadline, time.monotonic() + GRACE)
        return answers

    def _answer(self, rank):
        try:
            return pickle.loads(self.pipes[rank].recv_bytes())
        except (EOFError, ConnectionError):
            self.processes[rank].join(5)
            raise RankError(f'rank {rank} died with exit code {self.processes[rank].exitcode}. (Ranks import the '
                            'script that starts them: it has '
                            'to be a file, and to start them under `if __name__ == \'__main__\':`.)') from None

    def close(self) -> None:
        """End the ranks; the next `run` starts new ones."""
        atexit.unregister(self.close)
        for pipe in self.pipes:
            pipe.close()  # an idle rank leaves its loop
        for process in self.processes:
            process.join(0.2)
            if process.is_alive():
                process.kill()
                process.join()
        if self.folder is not None:
            self.folder.cleanup()
        self.processes = []
        self.pipes = []
        self.folder = None

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


SHARED = Ranks()
"""The two ranks of this process: started by whoever needs them first, and used by everybody after."""


def _serve(rank, world, timeout, file, pipe, parent):
    """Join the group and do the jobs that come through the pipe, until it closes or the process `parent` (None: that
    which has forked this one) ends."""
    end_with_parent(parent)
    import torch
    import torch.distributed as dist
    torch.set_num_threads(1)
    if os.path.isdir('/sys/class/net/lo'):  # a machine whose own name leads nowhere has this at least
        os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    dist.init_process_group('gloo', init_method=f'file://{file}', rank=rank, world_size=world,
                            timeout=timedelta(seconds=timeout))
    while True:
        try:
            folder, path, job = pipe.recv()
        except EOFError:
            return
        os.chdir(folder)
        sys.path[:] = path
        pipe.send_bytes(_do(rank, world, job))


def _do(rank, world, job):
    """Run one job: a pickle of (True, result) or (False, what went wrong)."""
    try:
        function, args = pickle.loads(job)
        return pickle.dumps((True, function(rank, world, *args)))
    except Exception as e:
        place = traceback.extract_tb(e.__traceback__)[-1]
        return pickle.dumps((False, f'rank {rank} raised {type(e).__name__} in '
                             f'{os.path.basename(place.filename)}:{place.lineno}: {e}'))
