"""Workers that die, hang, refuse: each is named, replaced a limited number of times, and the rest is done."""
import time
from collections import Counter

import pytest

from dtbox.errors import InputError
from dtbox.tokens.encoding import Outcome
from dtbox.tokens.engines.messages import BEGUN, DONE, FAILED, IMAGES, READY, REFUSED, STOP, Message
from dtbox.tokens.schedule import Limits, Schedule
from dtbox.tokens.sources import SourceShard


class Script:
    """An engine whose workers do what a table says.

    Args:
        table: name of an input shard -> what the worker does with it, one entry a try: 'done', 'fail', 'die', 'hang',
            'full'; done after these.
        begin: what each new worker does: 'ready', 'die', 'hang' or 'refuse'; ready after these.
        workers: their number.
        silent: how many of the first workers never say anything.
    """
    remark = ''
    waits_for_places = False

    def __init__(self, table=None, begin=(), workers=2, silent=0):
        self.table = {name: list(steps) for name, steps in (table or {}).items()}
        self.begins, self.workers = list(begin), workers
        self.started, self.stopped = 0, 0
        self.silent, self.made = silent, time.monotonic()
        self.log = []

    def start(self, slot):
        self.started += 1
        return ScriptWorker(self, slot)

    def wait(self, workers, seconds):
        assert workers and time.monotonic() - self.made < 20, 'the schedule waits for ever'
        time.sleep(0.001)


class ScriptWorker:
    def __init__(self, engine, slot):
        self.engine, self.slot = engine, slot
        self.pid, self.why = 100 + engine.started, ''
        self.stops = 0
        self.out, self.end = [], ''
        if engine.started > engine.silent:
            self.out = [Message(BEGUN, number=self.pid)]
            self.act(engine.begins.pop(0) if engine.begins else 'ready', '')

    def act(self, step, name):
        texts = dict(fail=Message(FAILED, f'{name} is broken'), full=Message(STOP, 'the disk is full'),
                     ready=Message(READY), refuse=Message(REFUSED, 'no such run.'),
                     done=Message(DONE, outcome=Outcome(name, 3, 3)))
        if step in texts:
            self.out += [Message(IMAGES, number=2), texts[step]] if step == 'done' else [texts[step]]
        self.end = 'its process was ended by SIGKILL' if step == 'die' else ''

    def send(self, shard):
        self.engine.log.append((self.slot, shard.name))
        steps = self.engine.table.get(shard.name)
        self.act(steps.pop(0) if steps else 'done', shard.name)

    def receive(self):
        found, self.out = self.out, []
        self.why = self.why or self.end
        return found

    def stop(self):
        self.engine.stopped += 1
        self.stops += 1
        assert self.stops == 1


class Notes:
    def __init__(self):
        self.ended, self.said = [], []
        self.seen, self.begun = 0, 0

    def begin(self):
        self.begun += 1

    def images(self, number):
        self.seen += number

    def done(self, outcome):
        self.ended.append(outcome.name)

    def failed(self, name, why):
        self.said.append(f'failed {name}: {why}')

    def say(self, text):
        self.said.append(text)


def run(engine, names='abcdef', **limits):
    notes = Notes()
    schedule = Schedule(engine, Limits(**limits), notes)
    try:
        schedule.run([SourceShard(name) for name in names])
    finally:
        assert engine.stopped == engine.started, 'a worker was left behind'
    return schedule, notes


def test_each_shard_once():
    engine = Script()
    schedule, notes = run(engine)
    assert sorted(notes.ended) == list('abcdef') and schedule.failed == {} and notes.seen == 12 and notes.said == []
    assert Counter(name for _, name in engine.log) == Counter('abcdef') and engine.started == 2
    assert {slot for slot, _ in engine.log} == {0, 1}


def test_no_more_workers_than_shards():
    engine = Script(workers=8)
    run(engine, 'ab')
    assert engine.started == 2


def test_a_bad_shard_does_not_stop_the_rest():
    schedule, notes = run(Script(dict(b=['fail'])))
    assert sorted(notes.ended) == list('acdef') and schedule.failed == dict(b='b is broken')
    assert notes.said == ['failed b: b is broken']


def test_a_dead_worker_is_replaced_and_its_shard_tried_again():
    engine = Script(dict(c=['die']))
    schedule, notes = run(engine)
    assert sorted(notes.ended) == list('abcdef') and schedule.failed == {} and engine.started == 3
    assert len(notes.said) == 1 and 'while it encoded c, its process was ended by SIGKILL' in notes.said[0]
    assert '(pid 10' in notes.said[0] and engine.log[-1][1] == 'c'  # after the others


def test_a_shard_that_kills_its_workers_is_given_up():
    schedule, notes = run(Script(dict(c=['die'] * 9)), tries=2)
    assert sorted(notes.ended) == list('abdef')
    assert schedule.failed == dict(c='2 workers ended over it; the last one: its process was ended by SIGKILL')


def test_a_worker_that_hangs_is_named_and_replaced():
    begun = time.monotonic()
    engine = Script(dict(c=['hang']))
    schedule, notes = run(engine, timeout=0.1)
    assert sorted(notes.ended) == list('abcdef') and schedule.failed == {}
    assert len(notes.said) == 1 and 'while it encoded c, it hung: nothing came from it for 0.1 seconds' in notes.said[0]
    assert 0.1 <= time.monotonic() - begun < 5


def test_a_worker_that_hangs_while_it_begins():
    _, notes = run(Script(begin=['hang'], workers=1), timeout=0.1)
    assert sorted(notes.ended) == list('abcdef') and 'while it began, it hung' in notes.said[0]


def test_a_worker_that_never_says_anything():
    """Its program hangs while Python starts, say on a disk that does not answer."""
    _, notes = run(Script(workers=1, silent=1), timeout=0.1)
    assert sorted(notes.ended) == list('abcdef') and 'while it began, it hung' in notes.said[0]


def test_a_worker_that_waits_for_a_place_does_not_hang():
    engine, begun = Script(workers=1), time.monotonic()
    engine.waits_for_places = True
    first = engine.start

    def start(slot):
        worker = first(slot)
        kept, receive = worker.out, worker.receive
        worker.out = []

        def wait_for_a_place():
            if time.monotonic() - begun > 0.4 and kept:
                worker.out, kept[:] = kept[:], []
            return receive()
        worker.receive = wait_for_a_place
        return worker
    engine.start = start
    _, notes = run(engine, timeout=0.1)
    assert sorted(notes.ended) == list('abcdef') and notes.said == [] and engine.started == 1


def test_workers_that_wait_for_work_do_not_count_as_hanging():
    """One shard takes longer than the timeout in all, with a message now and then; the other worker is idle."""
    engine = Script(dict(a=['slow']), workers=2)
    notes = Notes()
    schedule = Schedule(engine, Limits(timeout=0.15), notes)
    begun = time.monotonic()

    def wait(workers, seconds):
        time.sleep(0.05)
        worker = workers[0]
        late = time.monotonic() - begun > 0.6
        worker.out.append(Message(DONE, outcome=Outcome('a')) if late else Message(IMAGES, number=1))
        if late:
            engine.wait = Script.wait.__get__(engine)
    engine.wait = wait
    schedule.run([SourceShard('a'), SourceShard('b')])
    assert notes.said == [] and sorted(notes.ended) == ['a', 'b'] and engine.started == 2


def test_restarts_are_bounded():
    engine = Script({name: ['die'] * 9 for name in 'abcdef'})
    with pytest.raises(InputError, match='4 workers died or hung, more than --restarts 3; the last one, while it '
                                         'encoded .: its process was ended by SIGKILL'):
        run(engine, tries=100, restarts=3)


def test_workers_that_die_when_they_begin():
    with pytest.raises(InputError, match='3 workers died .* while it began: its process'):
        run(Script(begin=['die'] * 100), restarts=2)


def test_a_worker_that_refuses_stops_everything():
    with pytest.raises(InputError, match='^no such run.$'):
        run(Script(begin=['refuse']))


def test_a_full_disk_stops_everything():
    with pytest.raises(InputError, match='the disk is full. What is written stays; the same command continues.'):
        run(Script(dict(c=['full'])))


def test_nothing_to_do():
    engine = Script()
    assert run(engine, '')[0].failed == {} and engine.started == 0


@pytest.mark.parametrize('limits, says', [(dict(tries=0), '--tries: got 0'), (dict(restarts=-1), '--restarts'),
                                          (dict(timeout=0), '--timeout: got 0')])
def test_limits_that_cannot_be(limits, says):
    with pytest.raises(InputError, match=says):
        Limits(**limits)
