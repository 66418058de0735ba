"""The contract of language models finds what it looks for: for every check a model with one fault."""
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.lms.base import LanguageModel
from dtbox.lms.cache import KeyValueCache
from dtbox.lms.masks import make_mask
from tests.testing.broken_kit import Faults

FAULTS = Faults('lm')
breaks = FAULTS.breaks


class OneBlock(LanguageModel):
    """Tables, one block of attention with learned positions, a linear head: the smallest that keeps the contract."""
    example: dict = {}

    def __init__(self):
        super().__init__()
        self.width, self.vocab_size = 8, 12
        self.context_length = 32
        self.words, self.places = nn.Embedding(12, 8), nn.Embedding(32, 8)
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 12, bias=False)

    def embed(self, ids):
        return self.words(ids)

    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and q.shape[2] > 1)

    def forward(self, x, positions, mask=None, cache=None):
        self.check_places(x, positions, mask, cache)
        q, k, v = (part[:, None] for part in self.qkv(x + self.places(positions)).chunk(3, -1))
        t = x.shape[1]
        if cache is None:
            return x + self.attend(q, k, v, make_mask(mask, t, t, x.device, None))[:, 0]
        with torch.no_grad(), cache.adding(t):
            k, v = cache.update(k, v, 0)
            return x + self.attend(q, k, v, make_mask(mask, t, cache.length + t, x.device, None))[:, 0]

    def text_logits(self, hidden):
        return self.head(hidden)

    def resize(self, added):
        if added < self.added:
            raise InputError('fewer')
        for table in (self.words, self.head):
            rows = table.weight.detach()
            new = rows[:12].mean(0).expand(added - self.added, -1)
            table.weight = nn.Parameter(torch.cat([rows, new]))
        self.added, self.vocab_size = added, 12 + added
        return 12

    def save_pretrained(self, folder):
        folder.mkdir(exist_ok=True)
        if any(folder.iterdir()):
            raise InputError('not empty')
        torch.save(self.state_dict(), folder / 'weights.pth')


@breaks('shapes')
class ForgetsItsWidth(OneBlock):
    def __init__(self):
        super().__init__()
        self.context_length = 0


@breaks('causal')
class SeesAll(OneBlock):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@breaks('positions_count')
class CountsPlaces(OneBlock):
    def forward(self, x, positions, mask=None, cache=None):
        first = 0 if cache is None else cache.length
        return super().forward(x, torch.arange(first, first + x.shape[1]).expand(positions.shape), mask, cache)


@breaks('masks')
class IgnoresMasks(OneBlock):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)


@breaks('padding')
class SeesNothing(OneBlock):
    def attend(self, q, k, v, mask):
        out = super().attend(q, k, v, mask)
        if mask is None or mask.shape[2] == 1:
            return out
        # each place that sees itself alone sees nothing
        return out.masked_fill((mask.sum(-1, keepdim=True) == 1) & ~mask[..., :1], float('nan'))


@breaks('cached_steps')
class CausalFromTheFirst(OneBlock):
    """A query of one place with SDPA's own causal mask sees the first place of the cache alone."""

    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)


def test_growth_is_found():
    class Grows(OneBlock):
        def make_cache(self, batch, length):
            return KeyValueCache(batch, length + 1)
    result = FAULTS.run(Grows, 'cached_steps')
    assert result.status == 'fails' and 'places past the end of a cache are accepted' in result.detail


@breaks('stands_alone')
class SeesTheBatch(OneBlock):
    def forward(self, x, positions, mask=None, cache=None):
        out = super().forward(x, positions, mask, cache)
        return out - out.mean(0)


@breaks('special_rows')
class NewRowsOfZeros(OneBlock):
    def resize(self, added):
        first = super().resize(added)
        with torch.no_grad():
            self.words.weight[first:] = 0
        return first


@breaks('gradients')
class LeftOver(OneBlock):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.ones(2))


@breaks('state_dict')
class HiddenOffset(OneBlock):
    def __init__(self):
        super().__init__()
        self.offset = torch.randn(())

    def text_logits(self, hidden):
        return super().text_logits(hidden) + self.offset


@breaks('autocast')
class OverflowsInHalf(OneBlock):
    def text_logits(self, hidden):
        out = super().text_logits(hidden)
        return out * float('inf') if out.dtype == torch.bfloat16 else out


@breaks('odd_places')
class TakesAnyMask(OneBlock):
    def check_places(self, x, positions, mask, cache):
        super().check_places(x, positions, None, cache)

    def attend(self, q, k, v, mask):
        return super().attend(q, k, v, None if mask is None or mask.shape[3] != k.shape[2] else mask)


@breaks('written_folder')
class Overwrites(OneBlock):
    def save_pretrained(self, folder):
        folder.mkdir(exist_ok=True)
        torch.save(self.state_dict(), folder / 'weights.pth')


def test_the_small_model_is_sound():
    assert {FAULTS.run(OneBlock, check).status for check in FAULTS.checks} == {'holds'}


@pytest.mark.parametrize('check', FAULTS.checks)
def test_the_fault_is_found(check):
    FAULTS.require_found(check)
