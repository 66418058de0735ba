"""Whatever a caller hands in, the answer is a result that makes sense, or an `InputError` that names the argument."""
import pytest

from tests.fuzz_api import list_entries, make_calls
from tests.odd_values import ODD

CALLS = 300


@pytest.fixture(scope='module')
def outcomes(reader, reader_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp('fuzz')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # odd values may be taken for relative paths
        return make_calls(list_entries(reader, reader_run, folder), CALLS, seed=0)


def test_odd_calls(outcomes):
    assert [str(outcome) for outcome in outcomes if outcome.fault] == []
    assert len(outcomes) == CALLS


def test_calls_with_valid_arguments_have_a_result(outcomes):
    """Were everything refused, this would say so; refusals are counted as faults above where nothing is odd."""
    valid = [outcome for outcome in outcomes if not outcome.odd]
    assert len(valid) > 30 and all(outcome.result for outcome in valid)
    assert len({outcome.name for outcome in outcomes}) > 40


def test_every_odd_value_can_be_made():
    for label, make in ODD.items():
        make()
        assert label
