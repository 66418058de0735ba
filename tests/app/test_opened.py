"""Runs of the page: names, what is kept, what a run lacks."""
import shutil
import threading

import pytest
import torch

from dtbox.app.opened import Opened, Runs, drop_unknown, find_grid, name_runs
from dtbox.errors import InputError
from dtbox.layout import Grid


def test_names():
    assert name_runs(['a/one', 'b/two/', 'dtbox://three']) == ['one', 'two', 'three']
    assert name_runs(['a/run', 'b/run', 'c/other']) == ['a/run', 'b/run', 'other']
    with pytest.raises(InputError, match='the run a/run came twice'):
        name_runs(['a/run', 'a/run'])


def test_a_run_is_opened_once(tiny_run):
    runs = Runs([str(tiny_run)])
    assert runs.names == ['run'] and runs.get('run') is runs.get('run')
    with pytest.raises(InputError, match="shows no run 'ron'. Did you mean `run`"):
        runs.get('ron')


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match='gone does not exist'):
        Runs([str(tmp_path / 'gone')])


def test_a_run_that_vanishes(tmp_path):
    """Between the start of the page and its first use: one sentence."""
    (tmp_path / 'run').mkdir()
    runs = Runs([str(tmp_path / 'run')])
    (tmp_path / 'run').rmdir()
    with pytest.raises(InputError, match='does not exist'):
        runs.get('run')


def test_a_run_of_a_stranger_runs_no_code(tiny_run, tmp_path):
    """Its plugin is refused with the sentence of `dtbox.trust`, unless the page was started with the option."""
    shutil.copytree(tiny_run, tmp_path / 'run')
    (tmp_path / 'run' / 'mine').mkdir()
    (tmp_path / 'run' / 'mine' / '__init__.py').write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with open(tmp_path / 'run' / 'config.py', 'a') as file:
        file.write("\nplugins = ['mine']\n")
    with pytest.raises(InputError, match='which would run code of whoever wrote it'):
        Runs([str(tmp_path / 'run')]).get('run')
    assert not (tmp_path / 'ran').exists()
    Runs([str(tmp_path / 'run')], trusted=True).get('run')
    assert (tmp_path / 'ran').exists()


def test_what_is_kept_is_computed_once(opened):
    """By one thread of several, errors included; another key does not wait."""
    own, calls = Opened('own', 'x', opened.model), []
    begun, go = threading.Event(), threading.Event()

    def compute():
        calls.append(1)
        begun.set()
        assert go.wait(10)
        return 7
    threads = [threading.Thread(target=own.keep, args=('a', compute)) for _ in range(3)]
    [thread.start() for thread in threads]
    assert begun.wait(10) and own.keep('b', lambda: 8) == 8
    go.set()
    [thread.join() for thread in threads]
    assert own.keep('a', lambda: 0) == 7 and calls == [1]

    def fail():
        calls.append(2)
        raise InputError('no.')
    for _ in range(2):
        with pytest.raises(InputError, match='no.'):
            own.keep('c', fail)
    assert calls == [1, 2]


def test_a_run_without_images(talking):
    with pytest.raises(InputError, match='talking names no images of its own'):
        talking.dataset


def test_a_run_without_words(opened):
    with pytest.raises(InputError, match='tiny has no text tower, so nothing tells which words are near'):
        opened.words


def test_unknown_words_are_left_out():
    """Two words of one embedding are both the token for unknown words."""
    vectors = torch.tensor([[1., 0.], [0., 1.], [0., 1.], [.6, .8]])
    words, kept = drop_unknown(['cat', 'zyx', 'qwv', 'dog'], vectors)
    assert words == ['cat', 'dog'] and torch.equal(kept, vectors[[0, 3]])


def test_the_grid(opened):
    assert find_grid(opened.tokenizer) == find_grid(opened.tokenizer, 'semantic') == Grid(4, 4)
