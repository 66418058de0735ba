"""What a place may see: padding, packed samples, rows that may see nothing."""
import pytest
import torch

from dtbox.lms.masks import complete, make_mask
from tests.lms.conftest import make_lm, run_ids

CLOSE = dict(rtol=1e-4, atol=1e-5)


def pad(ids, left, right):
    """Return ids with padding, their positions, and the mask that hides it."""
    b, t = ids.shape
    wide = torch.cat([ids.new_full((b, left), 7), ids, ids.new_full((b, right), 7)], 1)
    positions = (torch.arange(left + t + right) - left).clamp(min=0).expand(wide.shape)
    real = torch.zeros(wide.shape, dtype=torch.bool)
    real[:, left:left + t] = True
    return wide, positions, real[:, None, :] & torch.ones(left + t + right, left + t + right).bool().tril()


@pytest.mark.parametrize('left, right', [(1, 0), (5, 0), (50, 0), (0, 1), (0, 50), (5, 9)])
def test_padding_changes_no_logit(llama, ids, left, right):
    wide, positions, mask = pad(ids, left, right)
    found = run_ids(llama, wide, positions, mask)
    torch.testing.assert_close(found[:, left:left + 12], run_ids(llama, ids), **CLOSE)
    assert found.isfinite().all()


def test_padding_leaves_gradients_alone(llama, ids):
    """A row of padding that may see nothing is finite, and so is every gradient."""
    wide, positions, mask = pad(ids, 5, 2)
    x = llama.embed(wide).detach().requires_grad_()
    llama(x, positions, mask)[:, 5:-2].square().sum().backward()
    assert x.grad.isfinite().all() and x.grad[:, 5:-2].any() and not x.grad[:, :5].any() and not x.grad[:, -2:].any()


def test_right_padding_needs_no_mask(llama, ids):
    wide, positions, _ = pad(ids, 0, 9)
    torch.testing.assert_close(run_ids(llama, wide, positions)[:, :12], run_ids(llama, ids), **CLOSE)


@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
def test_packed_samples_equal_samples_apart(ids, attention):
    """Block-diagonal masks and positions that restart: the logits of three sequences in one row."""
    lm, parts = make_lm('qwen3', attention=attention), [ids[0, :12], ids[1, :7], ids[2, :3]]
    lengths = [len(part) for part in parts]
    sample = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    mask = (sample[:, None] == sample) & torch.ones(22, 22).bool().tril()
    positions = torch.cat([torch.arange(n) for n in lengths])
    packed = run_ids(lm, torch.cat(parts)[None], positions[None], mask[None])[0].split(lengths)
    for part, found in zip(parts, packed):
        torch.testing.assert_close(found, run_ids(lm, part[None])[0], **CLOSE)


def test_positions_alone_hide_nothing(llama, ids):
    """Without a mask a place sees all before it, also where positions restart: the library would take the restart for
    a new sample."""
    positions = torch.cat([torch.arange(5), torch.arange(7)]).expand(3, 12)
    mask = torch.ones(3, 12, 12).bool().tril()
    torch.testing.assert_close(run_ids(llama, ids, positions), run_ids(llama, ids, positions, mask), **CLOSE)


def test_the_mask_is_taken_at_its_word(llama, ids):
    """A place that is hidden changes nothing for those that do not see it, itself included."""
    mask = torch.ones(3, 12, 12).bool().tril()
    mask[:, :, 4] = False
    other = ids.clone()
    other[:, 4] += 1
    a, b = (run_ids(llama, x % 40, mask=mask) for x in (ids, other))
    keep = torch.arange(12) != 4
    assert torch.equal(a[:, keep], b[:, keep]) and not torch.equal(a[:, 4], b[:, 4])


def test_rows_that_see_nothing_see_themselves():
    mask = torch.zeros(1, 2, 4, dtype=torch.bool)
    mask[0, 1, 0] = True
    assert complete(mask).int().tolist() == [[[0, 0, 1, 0], [1, 0, 0, 0]]]


def test_masks_of_the_library():
    """No mask is made where attention is causal by itself; the places that come in are the last of those seen."""
    device = torch.device('cpu')
    assert make_mask(None, 4, 4, device, None) is None and make_mask(None, 1, 9, device, None) is None
    assert make_mask(None, 2, 4, device, None).int().tolist() == [[[[1, 1, 1, 0], [1, 1, 1, 1]]]]
    least = torch.finfo(torch.bfloat16).min
    assert make_mask(None, 2, 2, device, torch.bfloat16).tolist() == [[[[0, least], [0, 0]]]]
