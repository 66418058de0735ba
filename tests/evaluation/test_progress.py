"""How far an evaluation is."""
import pytest

from dtbox.evaluation import progress


@pytest.mark.parametrize('rank, seconds, lines', [
    (0, 4, ['Evaluation: 2 of 8 batches, 36 s left', 'Evaluation: 5 of 8 batches, 14 s left']), (0, 1, []), (1, 4, [])])
def test_lines(monkeypatch, rank, seconds, lines):
    """The clock is read every four seconds: a line after 12 and 24 (12 / 2 * 6 = 36 s are left, 24 / 5 * 3 = 14); a
    short evaluation, or another rank, says nothing."""
    said, clock = [], iter(range(0, 1000, seconds))
    monkeypatch.setattr(progress.distributed, 'get_rank', lambda: rank)
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
    monkeypatch.setattr(progress, 'print_log', lambda text, logger: said.append(text))
    assert list(progress.show_progress(list('abcdefgh'))) == list('abcdefgh')
    assert said == lines
