"""logits = u + s (c - u)."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.sampling import Guidance, guide

C, U = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([[0.0, 3.0, 1.0]])


def test_by_hand():
    assert guide(C, U, 3.0).tolist() == [[3.0, 0.0, -5.0]]
    assert torch.equal(guide(C, U, 1), C) and torch.equal(guide(C, U, 0), U)


def test_log_probabilities_do_as_well_as_logits():
    """A constant of a row cancels in the softmax."""
    c, u = torch.randn(20, 50), torch.randn(20, 50)
    logits, logs = guide(c, u, 5.0).softmax(-1), guide(c.log_softmax(-1), u.log_softmax(-1), 5.0).softmax(-1)
    assert torch.allclose(logits, logs, atol=1e-6)


def test_an_empty_condition_changes_nothing():
    for scale in (0.0, 1.0, 2.5, 7.0):
        assert torch.equal(Guidance(scale).combine('pixel', torch.cat([C, C])), C)


def test_float32_whatever_comes():
    """In bfloat16 3 + 7 * 0.0078 would be 3.0625 or 3.0469."""
    c, u = torch.tensor([[3.0156]]).bfloat16(), torch.tensor([[3.0]]).bfloat16()
    assert guide(c, u, 7.0).item() == pytest.approx(3 + 7 * (c - u).item(), abs=1e-6)
    assert guide(c, u, 7.0).dtype == torch.float32


def test_scales_by_stream():
    guidance = Guidance(dict(pixel=3, semantic=1))
    assert guidance.combine('pixel', torch.cat([C, U])).tolist() == [[3.0, 0.0, -5.0]]
    assert torch.equal(guidance.combine('semantic', torch.cat([C, U])), C)
    assert guidance.is_needed(['semantic', 'pixel']) and not guidance.is_needed(['semantic'])
    with pytest.raises(InputError, match='does not name the stream `text`; it has: pixel, semantic'):
        guidance.scale_of('text')


def test_interval():
    assert [Guidance(2, (1, 3)).covers(place) for place in range(4)] == [False, True, True, False]
    assert Guidance(2).covers(1000)


@pytest.mark.parametrize('args, says', [
    (dict(scale='3'), "^scale: got '3'"), (dict(scale=float('nan')), '^scale: got nan'),
    (dict(scale=dict(pixel=None)), '^scale.pixel: got None'),
    (dict(interval=(3, 3)), '^interval: got .*first below stop'), (dict(interval=5), '^interval: got 5')])
def test_values_that_are_refused(args, says):
    with pytest.raises(InputError, match=says):
        Guidance(**args)


def test_an_odd_number_of_rows():
    with pytest.raises(InputError, match='as many unconditional rows as conditional'):
        Guidance(2.0).combine('pixel', torch.zeros(3, 4))
