"""Steps with a cache equal the full pass, whatever the lengths of the prompts; no cache grows past its length."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.lms.cache import KeyValueCache
from tests.lms.conftest import make_lm, run_ids

CLOSE = dict(rtol=1e-4, atol=1e-5)
LENGTHS = (5, 1, 3)
"""Places of the prompts of three rows."""


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def test_ragged_prompts_equal_rows_alone(lm, ids, threads):
    """Prompts padded left to one length, then seven steps: each row is what it is alone in one pass."""
    width, steps = max(LENGTHS), 7
    real = torch.zeros(3, width + steps, dtype=torch.bool)
    rows = torch.full((3, width + steps), 9)
    for row, n in enumerate(LENGTHS):
        real[row, width - n:] = True
        rows[row, width - n:] = ids[row, :n + steps]
    positions = (real.cumsum(1) - 1).clamp(min=0)
    cache = lm.make_cache(3, width + steps)
    mask = real[:, None, :width] & torch.ones(width, width).bool().tril()
    out = [run_ids(lm, rows[:, :width], positions[:, :width], mask, cache)]
    for t in range(width, width + steps):
        out.append(run_ids(lm, rows[:, t:t + 1], positions[:, t:t + 1], real[:, None, :t + 1], cache))
    out = torch.cat(out, 1)
    for row, n in enumerate(LENGTHS):
        torch.testing.assert_close(out[row, width - n:], run_ids(lm, ids[row:row + 1, :n + steps])[0], **CLOSE)


def test_prompts_in_two_halves(llama, ids):
    """Without a mask the second half sees the first, and itself causally."""
    cache = llama.make_cache(3, 12)
    positions = torch.arange(12).expand(3, 12)
    out = [run_ids(llama, ids[:, a:b], positions[:, a:b], None, cache) for a, b in ((0, 5), (5, 12))]
    torch.testing.assert_close(torch.cat(out, 1), run_ids(llama, ids), **CLOSE)


def test_growth_is_refused(llama, ids):
    """The refused step leaves the cache as it was."""
    cache = llama.make_cache(3, 6)
    run_ids(llama, ids[:, :5], cache=cache)
    with pytest.raises(InputError, match='2 more places do not fit into the cache: it holds 5 of 6'):
        run_ids(llama, ids[:, 5:7], torch.tensor([[5, 6]] * 3), cache=cache)
    found = run_ids(llama, ids[:, 5:6], torch.full((3, 1), 5), cache=cache)
    torch.testing.assert_close(found, run_ids(llama, ids[:, :6])[:, 5:], **CLOSE)


def test_memory_is_taken_once(llama, ids):
    cache = llama.make_cache(3, 12)
    run_ids(llama, ids[:, :1], cache=cache)
    before = [tensor.data_ptr() for table in (cache._keys, cache._values) for tensor in table.values()]
    run_ids(llama, ids[:, 1:], torch.arange(1, 12).expand(3, 11), cache=cache)
    after = [tensor.data_ptr() for table in (cache._keys, cache._values) for tensor in table.values()]
    assert before == after and len(after) == 4


def test_one_prompt_for_many_rows(llama, ids):
    """`expand` puts copies side by side, `select` takes rows in any order; then each goes its own way."""
    cache = llama.make_cache(2, 8)
    run_ids(llama, ids[:2, :4], cache=cache)
    cache.expand(2)
    cache.select(torch.tensor([3, 0, 1]))
    out = run_ids(llama, ids[:, 4:5], torch.full((3, 1), 4), cache=cache)
    prompts = ids[[1, 0, 0], :4]
    torch.testing.assert_close(out, run_ids(llama, torch.cat([prompts, ids[:, 4:5]], 1))[:, 4:], **CLOSE)


def test_caches_hold_no_graph(llama, ids):
    """Generation needs no gradients, and a model in training does not recompute."""
    lm = make_lm('llama', recompute=True).train()
    cache = lm.make_cache(3, 12)
    assert not lm(lm.embed(ids), torch.arange(12).expand(3, 12), None, cache).requires_grad
    assert cache.length == 12 and not any(tensor.requires_grad for tensor in cache._keys.values())


def test_odd_caches(llama):
    with pytest.raises(InputError, match='a cache of 0 rows with room for 4'):
        KeyValueCache(0, 4)
    with pytest.raises(InputError, match='97 places was asked for; the language model is made for 96'):
        llama.make_cache(1, 97)
    with pytest.raises(InputError, match=r'the rows \[2\] of a cache'):
        KeyValueCache(2, 4).select(torch.tensor([2]))
