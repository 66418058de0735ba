"""Settings for all, by stream, by depth; what they refuse."""
import pytest

from dtbox.errors import InputError
from dtbox.sampling import Choice, SamplingRule


def test_one_value_for_all():
    assert SamplingRule().resolve('pixel', 3) == Choice(1.0, None, None)
    assert SamplingRule(0.7, 5, 0.9).resolve('text') == Choice(0.7, 5, 0.9)


def test_by_stream_and_depth():
    rule = SamplingRule(dict(pixel=2, semantic=[1, 0.5]), [10, None], dict(pixel=[0.8, 1], semantic=None))
    assert rule.resolve('pixel', 1) == Choice(2.0, None, 1.0)
    assert rule.resolve('semantic', 0) == Choice(1.0, 10, None)
    assert rule.resolve('semantic', 1) == Choice(0.5, None, None)
    rule.check(dict(pixel=2, semantic=2))


@pytest.mark.parametrize('args, says', [
    (dict(temperature=-1), '^temperature: got -1; expected a finite number from 0'),
    (dict(temperature=None), '^temperature: got None'),
    (dict(temperature=dict(pixel=[1, 'x'])), "^temperature.pixel: got 'x'"),
    (dict(top_k=0), '^top_k: got 0; expected a whole number from 1'),
    (dict(top_k=[]), '^top_k: got an empty list'),
    (dict(top_p=0), '^top_p: got 0; expected a finite number above 0 up to 1'),
    (dict(top_p=1.5), '^top_p: got 1.5')])
def test_values_that_are_refused(args, says):
    with pytest.raises(InputError, match=says):
        SamplingRule(**args)


@pytest.mark.parametrize('rule, says', [
    (SamplingRule(dict(pixel=1)), 'does not name the stream `semantic`'),
    (SamplingRule(top_k=dict(pixel=1, semantic=1, semantc=2)), 'names the stream `semantc`.*Did you mean `semantic`'),
    (SamplingRule(top_p=[0.9, 0.8]), 'has 2 values for `pixel`, which has 3 depths')])
def test_rules_that_do_not_fit_the_streams(rule, says):
    with pytest.raises(InputError, match=says):
        rule.check(dict(pixel=3, semantic=2))


def test_a_depth_without_value():
    with pytest.raises(InputError, match='no value for depth 2 of `pixel`'):
        SamplingRule([1, 2]).resolve('pixel', 2)
