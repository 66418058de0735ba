"""What is shown while a grid runs: counts, the time that is left, the best so far."""
import io
import os
from types import SimpleNamespace

import pytest
from rich.console import Console

from dtbox.ablation import progress as shown
from dtbox.ablation.progress import Progress, read_progress
from dtbox.ablation.summary import describe_best

LINE = ('11/25 22:16:40 - mmengine - INFO - [20/320] left 1:03:09  lr 1.50e-03  semantic_tokens 3.295  '
        'semantic_pooled -0.1222  total 9\n')


def planned(name, what='new', **record):
    variant, _, seed = name.partition('_')
    return SimpleNamespace(trial=SimpleNamespace(name=name, labels=dict(size=variant), seed=seed), what=what,
                           record=record)


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(shown, 'time', clock)
    return clock


@pytest.fixture
def make(tmp_path):
    """make(names, workers, kept) -> Progress; its output is progress.console.file."""
    def make(names, workers=1, kept=(), width=200, terminal=False):
        todo = [planned(n) for n in names]
        plan = [*todo, *(planned(n, 'keep', status='done', seconds=s) for n, s in kept)]
        progress = Progress(plan, todo, workers,
                            Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False))
        progress.start = lambda name, **record: progress.started(next(p.trial for p in todo if p.trial.name == name),
                                                                 str(tmp_path), record)
        progress.end = lambda name, seconds, status='done': progress.finished(
            next(p.trial for p in todo if p.trial.name == name), dict(status=status, reason='', seconds=seconds))
        return progress
    return make


def test_time_left(make, clock):
    progress = make(['a_0', 'a_1', 'b_0', 'b_1'])
    assert progress.left() is None
    progress.start('a_0')
    clock.now += 100
    assert progress.left() is None  # nothing has finished, and no log says anything
    progress.end('a_0', 100)
    assert progress.left() == 300
    progress.start('a_1')
    clock.now += 30
    assert progress.left() == 70 + 200
    progress.end('a_1', 100)
    progress.start('b_0')
    clock.now += 400
    assert progress.left() == 100  # it takes longer than the others: nobody knows for how long
    progress.end('b_0', 500)
    assert progress.left() == 500  # b_1 is as b_0


def test_workers_share_what_is_left(make, clock):
    progress = make(['a_0', 'a_1', 'a_2'], workers=2, kept=[('a_3', 60), ('b_0', 1000)])
    assert progress.left() == 120 and progress.counts() == '0 of 3 done, 0 running, 0 failed, 3 waiting, 2 from before'
    progress.start('a_0'), progress.start('a_1')
    clock.now += 10
    assert progress.left() == 50 + 60
    progress.end('a_0', 10, 'failed')  # says nothing about how long a trial takes
    progress.start('a_2')
    assert progress.left() == 60 and progress.counts() == '0 of 3 done, 2 running, 1 failed, 0 waiting, 2 from before'


def test_a_resumed_trial_needs_less(make, clock):
    progress = make(['a_0'], kept=[('a_1', 100)])
    progress.start('a_0', seconds_before=80)
    clock.now += 5
    assert progress.left() == 15
    assert progress.console.file.getvalue() == 'started  a_0 (resumes from its checkpoint)\n'


def test_before_the_first_has_finished_its_log_tells(make, clock, tmp_path):
    log = tmp_path / 'log.txt'
    log.write_text(LINE.replace('1:03:09', '9:00:00'))  # of an earlier attempt
    progress = make(['a_0', 'a_1'])
    progress.start('a_0')
    assert progress.left() is None
    log.write_text(log.read_text() + LINE)
    clock.now += 11
    assert progress.left() == 3789 + 3800


def test_lines_and_a_narrow_terminal(make, clock, tmp_path):
    (tmp_path / 'log.txt').write_text('')
    progress = make(['a_0', 'b_0'], workers=2, width=30, terminal=True)
    progress.start('a_0')
    (tmp_path / 'log.txt').write_text(LINE)
    progress.best = 'a (all/psnr 20.1)'
    progress.console.print(progress.table())
    lines = progress.console.file.getvalue().splitlines()
    assert all(len(line.replace('\x1b[1m', '').replace('\x1b[0m', '')) <= 30
               for line in lines[-5:]) and '0 of 2 done' in lines[-5]
    assert lines[-1].startswith('a_0  0:00:00  [20/320]')
    progress.end('a_0', 4000)
    assert (
        'done     a_0  [1 of 2 done, 0 running, 0 failed, 1 waiting, 1:06:40 left]  best so far: a (all/psnr 20.1)\n'
        in progress.console.file.getvalue()
    )


def test_what_a_log_tells(tmp_path):
    path = str(tmp_path / 'log.txt')
    assert read_progress(path) == ('starting', None)
    with open(path, 'w') as f:
        f.write(LINE * 100 + 'a line without\n')
    assert read_progress(path) == ('[20/320] left 1:03:09  lr 1.50e-03  semantic_tokens 3.295  s', 3789.0)
    assert read_progress(path, before=os.path.getsize(path)) == ('starting', None)


def test_the_best_is_the_least_where_less_is_better():
    grid = SimpleNamespace(axes=dict(size=['1', '2']), metrics=['all/l1'])
    rows = [{'size': '1', 'status': 'done', 'all/l1': 0.2}, {'size': '2', 'status': 'done', 'all/l1': 0.1},
            {'size': '2', 'status': 'failed'}]
    assert describe_best(grid, rows) == '2 (all/l1 0.1)' and describe_best(grid, rows[2:]) == ''
