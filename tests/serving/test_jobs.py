"""The worker: order, ends, failures that cost one job alone."""
import queue
import threading

import pytest

from dtbox.errors import InputError
from dtbox.serving.jobs import Done, Failed, Job, Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()
    worker.thread.join(5)
    assert not worker.thread.is_alive()


def test_jobs_come_one_after_the_other(worker):
    heard = queue.Queue()
    for i in range(20):
        worker.submit(Job(lambda job, i=i: job.tell(i) or -i, heard.put))
    events = [heard.get(timeout=5) for _ in range(40)]
    assert events == [event for i in range(20) for event in (i, Done(-i))]


@pytest.mark.parametrize('error, logged', [(InputError('bad'), False), (RuntimeError('fault'), True)])
def test_a_failure_costs_one_job(worker, caplog, error, logged):
    def fail(job):
        raise error
    heard = queue.Queue()
    worker.submit(Job(fail, heard.put))
    worker.submit(Job(lambda job: 1, heard.put))
    failed = heard.get(timeout=5)
    assert isinstance(failed, Failed) and failed.error is error and error.__traceback__ is None
    assert heard.get(timeout=5) == Done(1) and bool(caplog.records) == logged


def test_a_listener_that_has_ended(worker):
    """The event loop of a server that stops takes nothing any more."""
    def refuse(event):
        raise RuntimeError('loop is closed')
    heard = queue.Queue()
    worker.submit(Job(lambda job: 1, refuse))
    worker.submit(Job(lambda job: 2, heard.put))
    assert heard.get(timeout=5) == Done(2)


def test_cancelled_jobs_end(worker):
    """One that runs ends at its next check, one that waits is not begun; nobody hears of either."""
    began, go_on = threading.Event(), threading.Event()
    heard, steps = queue.Queue(), []

    def work(job):
        for step in range(1000):
            steps.append(step)
            began.set()
            go_on.wait(5)
            job.check()
    running, waiting = Job(work, heard.put), Job(lambda job: steps.append('begun'), heard.put)
    for job in (running, waiting, Job(lambda job: 'last', heard.put)):
        worker.submit(job)
    assert began.wait(5)
    running.cancel()
    waiting.cancel()
    go_on.set()
    assert heard.get(timeout=5) == Done('last') and steps == [0] and heard.empty()


def test_a_job_lets_go_of_its_work():
    job = Job(lambda job: None, lambda event: None)
    job.run()
    assert job.work is None
