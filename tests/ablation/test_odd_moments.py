"""What happens to a grid at odd moments: two starts, kills between two writes, disks that fill up, records that
vanish."""
import csv
import errno
import os
import shutil
import subprocess
import sys
import time

import pytest

from dtbox.ablation import GridFolder, read_grid, run_grid
from dtbox.ablation.endings import explain_exit
from dtbox.ablation.run import SHARE, Work
from dtbox.ablation.trial import NO_ROOM, read_record, write_record
from dtbox.errors import InputError
from dtbox.locks import Locked, find_holder, wait_until_free
from tests.ablation import conftest
from tests.child_processes import start_child

FIRST = '1__wide__seed0'


def table(folder):
    with open(os.path.join(folder, 'results.csv')) as f:
        return {row['trial']: row for row in csv.DictReader(f)}


def statuses(folder):
    return {name: row['status'] for name, row in table(folder).items()}


@pytest.fixture
def grid(write_grid):
    return read_grid(write_grid(('seeds = [0, 1]', 'seeds = [0]')))


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / 'out')


@pytest.fixture
def during(monkeypatch):
    """during(n, act): call act(trial) in place of the n-th look at a trial; its value is the exit code, where it has
    one."""
    def set_up(number, act):
        poll, looks = conftest.InstantTrial.poll, []

        def poll_or_act(self):
            looks.append(self)
            return act(self) if len(looks) == number else poll(self)
        monkeypatch.setattr(conftest.InstantTrial, 'poll', poll_or_act)
    return set_up


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# ---- two starts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('resume', [False, True])
def test_another_start_ends_before_the_lock(grid, out, instant, monkeypatch, resume):
    """Another start ends before this one has the lock."""
    engine = instant()

    def slow(*_):
        monkeypatch.setattr('dtbox.ablation.run.make_engine', lambda *a: engine)
        run_grid(grid, out)
        return engine
    monkeypatch.setattr('dtbox.ablation.run.make_engine', slow)
    if resume:
        run_grid(grid, out, resume=True)
    else:
        with pytest.raises(InputError, match='4 finished trials. Continue it with --resume'):
            run_grid(grid, out)
    assert len(engine.started) == 4 and sorted(os.listdir(os.path.join(out, 'trials'))) == sorted(t.name
                                                                                                  for t in grid.trials)


def test_a_second_start_loses_nothing(grid, out, instant, during):
    def second(trial):
        with pytest.raises(InputError, match=f'another process .pid {os.getpid()}. is working on the grid'):
            run_grid(grid, out, resume=True)
    instant()
    during(1, second)
    _, rows = run_grid(grid, out)
    assert {r['status'] for r in rows} == {'done'}


# ---- killed ----------------------------------------------------------------------------------------------------------


def test_resuming_what_has_not_been_started(grid, out, instant, capsys):
    instant()
    run_grid(grid, out, resume=True)
    assert f'{out} holds nothing yet: the grid starts from the beginning.' in capsys.readouterr().out
    run_grid(grid, out, resume=True)
    assert 'holds nothing' not in capsys.readouterr().out


def test_killed_before_grid_json_was_there(grid, out, instant):
    os.makedirs(os.path.join(out, 'trials'))
    for name in ('.lock', '.grid.k3x9.part.json'):
        open(os.path.join(out, name), 'w').close()
    instant()
    run_grid(grid, out)
    assert set(statuses(out).values()) == {'done'} and sorted(os.listdir(out)) == ['.lock', 'grid.json', 'results.csv',
                                                                                   'trials']


@pytest.mark.parametrize('left', [(), ('config.py',), ('config.py', '.trial.k3x9.part.json')])
def test_killed_while_a_trial_was_made_ready(grid, out, instant, left):
    instant()
    run_grid(grid, out)
    folder = os.path.join(out, 'trials', FIRST)
    for name in set(os.listdir(folder)) - {'config.py'}:
        os.remove(os.path.join(folder, name))
    for name in ('config.py', '.trial.k3x9.part.json'):
        (open(os.path.join(folder, name), 'a').close() if name in left else
         os.path.exists(os.path.join(folder, name)) and os.remove(os.path.join(folder, name)))
    engine = instant()
    run_grid(grid, out, resume=True)
    assert engine.started == [FIRST] and set(statuses(out).values()) == {'done'}


def test_what_a_kill_left_half_written_is_swept(grid, out, instant):
    instant(outcome={FIRST: -9})
    run_grid(grid, out)
    folder = os.path.join(out, 'trials', FIRST)
    for name in ('.checkpoint.k3x9.part.pth', '.metrics.json.k3x9', '.lock', 'checkpoint.pth'):
        open(os.path.join(folder, name), 'w').close()
    instant()
    run_grid(grid, out, resume=True)
    assert set(os.listdir(folder)) == {'.lock', 'checkpoint.pth', 'config.py', 'metrics.json', 'run.json', 'trial.json'}


def test_a_trial_that_outlived_its_grid_is_waited_for(grid, out, instant, monkeypatch):
    instant(outcome={FIRST: -9})
    run_grid(grid, out)
    path = os.path.join(out, 'trials', FIRST, '.lock')
    hold = ('import sys, time\nfrom dtbox.locks import Locked\n'
            f'with Locked({path!r}, "x"):\n    print(1, flush=True)\n    time.sleep(float(sys.argv[1]))')
    engine = instant()
    with start_child([sys.executable, '-c', hold, '60'], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        monkeypatch.setattr('dtbox.ablation.folder.wait_until_free', lambda path, seconds: wait_until_free(path, 0.2))
        with pytest.raises(InputError, match=f'the trial {FIRST} is still running in another process .pid '
                                             f'{other.pid}.'):
            run_grid(grid, out, resume=True)
        assert engine.started == []
        other.kill()
    monkeypatch.undo()
    engine = instant()
    with start_child([sys.executable, '-c', hold, '0.5'], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        run_grid(grid, out, resume=True)
    assert engine.started == [FIRST] and set(statuses(out).values()) == {'done'}


def test_locks(tmp_path):
    path = str(tmp_path / 'lock')
    assert find_holder(path) == '' and not os.path.exists(path)
    with Locked(path, 'x'):
        assert find_holder(path) == wait_until_free(path, 0.1) == str(os.getpid())
    assert find_holder(path) == wait_until_free(path) == ''


# ---- disks and records -----------------------------------------------------------------------------------------------


def test_full_disk_ends_the_grid(grid, out, instant):
    """A trial whose disk is full ends the grid; it resumes later."""
    engine = instant(workers=1, outcome={grid.trials[1].name: NO_ROOM})
    with pytest.raises(InputError, match='cannot write to .*out: No space left on device. The trials that finished '
                                         'are kept; .* --resume'):
        run_grid(grid, out)
    assert len(engine.started) == 2 and list(statuses(out).values()) == ['done', 'killed', 'missing', 'missing']
    assert table(out)[grid.trials[1].name]['reason'] == 'there was no space left on its disk'
    engine = instant()
    plan, _ = run_grid(grid, out, resume=True)
    assert [p.what for p in plan] == ['keep', 'continue', 'new', 'new'] and set(statuses(out).values()) == {'done'}


def test_a_disk_that_fills_up_leaves_no_process_behind(grid, out, instant, monkeypatch):
    engine, write = instant(workers=2, outcome={t.name: 'never' for t in grid.trials[1:]}), GridFolder.write_table

    def full_once_all_run(self, *args):
        return full() if len(engine.started) > 1 else write(self, *args)
    monkeypatch.setattr(GridFolder, 'write_table', full_once_all_run)
    monkeypatch.setattr('dtbox.ablation.folder.write_record', lambda folder, record: full() if record['status']
                        == 'killed' else
                        write_record(folder, record))
    with pytest.raises(InputError, match='cannot write to .*out: No space left on device'):
        run_grid(grid, out)
    assert len(engine.started) > 1 and engine.open == set()
    monkeypatch.undo()
    engine = instant()
    run_grid(grid, out, resume=True)
    assert set(statuses(out).values()) == {'done'} and FIRST not in engine.started


def test_what_else_the_system_refuses(grid, out, instant, monkeypatch):
    def no_processes(self, folder):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    instant()
    monkeypatch.setattr(conftest.InstantEngine, 'start', no_processes)
    with pytest.raises(InputError, match='the grid in .*out cannot continue: Resource temporarily unavailable'):
        run_grid(grid, out)
    with pytest.raises(InputError, match='cannot write to .*small.py/out: Not a directory'):
        run_grid(grid, os.path.join(grid.path, 'out'))


@pytest.mark.parametrize('lose', [shutil.rmtree, lambda folder: os.remove(os.path.join(folder, 'trial.json'))])
def test_a_record_that_vanishes_costs_its_trial_alone(grid, out, instant, during, lose):
    def vanish(trial):
        lose(trial.folder)
        return 1
    instant(workers=1)
    during(1, vanish)
    run_grid(grid, out)
    assert list(statuses(out).values()) == ['failed', 'done', 'done', 'done']
    assert table(out)[FIRST]['reason'] == 'its process ended with exit code 1; see log.txt'
    assert table(out)[FIRST]['config_hash']
    instant()
    run_grid(grid, out, resume=True)
    assert set(statuses(out).values()) == {'done'}


def test_a_trial_that_ends_while_it_is_stopped_keeps_its_result(write_grid, out, instant, monkeypatch):
    instant(outcome={FIRST: 'never'})

    def stop(self):  # it had just finished
        self.outcome = 'done'
        self.poll()
    monkeypatch.setattr(conftest.InstantTrial, 'stop', stop)
    run_grid(read_grid(write_grid(('seeds =', 'budget = dict(trial_minutes=0.0005)\nseeds ='))), out, only='*seed0')
    assert statuses(out)[FIRST] == 'done'


def test_a_trial_that_waits_for_its_turn_is_not_late(write_grid, out, instant, monkeypatch):
    instant(outcome={FIRST: 'never'})
    asked = []

    def has_begun(self):
        asked.append(self)
        if len(asked) == 100:
            self.outcome = 'done'
        return False
    monkeypatch.setattr(conftest.InstantTrial, 'has_begun', has_begun)
    run_grid(read_grid(write_grid(('seeds =', 'budget = dict(trial_minutes=0.0005)\nseeds ='))), out, only=FIRST)
    assert statuses(out)[FIRST] == 'done'


def test_clocks_that_are_set_do_not_matter(write_grid, out, instant, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, 'time', lambda: now + 10 ** 6 * len(engine.started) * (-1) ** len(engine.started))
    engine = instant(workers=1, outcome={FIRST: -9})
    grid = read_grid(write_grid(('seeds =', 'budget = dict(trial_minutes=5, hours=1)\nseeds =')))
    _, rows = run_grid(grid, out)
    assert [r['status'] for r in rows] == ['killed'] + ['done'] * 7 and 0 <= rows[0]['seconds'] < 300


# ---- code that changes -----------------------------------------------------------------------------------------------


def stale(folder, code, **more):
    """What a trial does that finds other code than its grid."""
    record = read_record(folder)
    write_record(folder, dict(record, status='failed', reason=f'the code hash is {code}, but was '
                                                              f'{record["hashes"]["code_hash"]} when the grid was '
                              'started', stale=True, seconds=3.0, **more))
    return 1


def test_code_that_changes_meanwhile_ends_the_grid(grid, out, instant, during):
    engine = instant(workers=1)
    during(2, lambda trial: stale(trial.folder, 'new'))
    with pytest.raises(InputError, match='the code hash is new, but was .*: it changed while the grid ran'):
        run_grid(grid, out)
    assert len(engine.started) == 2 and list(statuses(out).values()) == ['done', 'failed', 'missing', 'missing']
    instant()
    plan, _ = run_grid(grid, out, resume=True)
    assert [p.what for p in plan] == ['keep', 'redo', 'new', 'new'] and set(statuses(out).values()) == {'done'}


def test_code_changes_under_a_running_trial(grid, out, instant, monkeypatch):
    """Its checkpoint is of the code that the grid was started with: with that it goes on, and with another one the user
    is asked."""
    instant()
    run_grid(grid, out)
    folder = os.path.join(out, 'trials', FIRST)
    stale(folder, 'new', seconds_before=2.0)
    with monkeypatch.context() as other:
        other.setattr('dtbox.ablation.plan.hash_code', lambda: 'new')
        with pytest.raises(InputError, match=f'dtbox has changed since 4 trials .*now new.: {FIRST}, '):
            run_grid(grid, out, resume=True)
    plan, _ = run_grid(grid, out, resume=True)
    assert plan[0].what == 'continue' and read_record(folder)['status'] == 'done' and 'stale' not in read_record(folder)


# ---- and what it costs -----------------------------------------------------------------------------------------------


def test_results_that_no_longer_count_are_said_to_run_again(grid, out, instant, write_grid, capsys):
    instant()
    run_grid(grid, out)
    changed = read_grid(write_grid(('seeds = [0, 1]', 'seeds = [0]'), ("'model.tokenizer.decoder.width': 64",
                                                                       "'model.tokenizer.decoder.width': 96")))
    run_grid(changed, out, resume=True)
    assert (
        '2 trials with a result run again, since config, data or plugins have changed; the earlier folders are kept '
        'as NAME.1.'
        in capsys.readouterr().out
    )


def test_running_trials_are_told_from_killed_ones(grid, out, instant, during, monkeypatch):
    monkeypatch.setattr('dtbox.ablation.run.SHARE', 1e9)  # the table is written every time
    seen = {}

    def look(trial):
        seen.update({name: row['status'] for name, row in table(out).items()})
    instant(workers=2)
    during(2, look)
    run_grid(grid, out)
    assert list(seen.values()) == ['done', 'running', 'missing', 'missing']


def test_the_table_is_not_written_more_often_than_it_is_worth(grid, out, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    class Folder:
        written, infos = 0, None

        def write_table(self, grid, hashes, running=()):
            self.written += 1
            clock.now += 2
            return [self.written]
    clock, folder = Clock(), Folder()
    monkeypatch.setattr('dtbox.ablation.run.time', clock)
    work = Work(grid, folder, None, type('P', (), dict(show_best=lambda *a: None)), {})
    seen = []
    for _ in range(10):
        seen += work._table()
        clock.now += 2 / SHARE / 4
    assert seen == [2, 2, 2, 2, 3, 3, 3, 3, 4, 4]


def test_how_a_process_ended():
    assert explain_exit(-9) == ('killed', 'its process was ended by SIGKILL (out of memory?)')
    assert explain_exit(143)[0] == 'killed' and explain_exit(3) == ('failed', 'its process ended with exit code 3; '
                                                                              'see log.txt')
    assert explain_exit(1, 'no such node') == ('failed', 'no such node') and explain_exit(-9, 'the node died') == (
        'killed',
        'the node died',
    )
    assert explain_exit(NO_ROOM) == ('killed', 'there was no space left on its disk')
