"""The small mean-pooled text tower."""
import pytest
import torch
from safetensors.torch import save_file

from dtbox.errors import InputError
from dtbox.registry import TEXTS


def tower(words, context_length=6, **changes):
    return TEXTS.build(dict(type='MeanPoolText', embed_dim=8, width=16, depth=1, heads=2,
                            tokenizer=dict(type='FileTokenizer', file=words, context_length=context_length),
                            **changes)).eval()


def test_padding_does_not_matter(words):
    """A longer context is more padding, and nothing else."""
    short, long = tower(words, 6), tower(words, 10)
    state = long.state_dict()
    state.update({k: v for k, v in short.state_dict().items() if k != 'positions'})
    state['positions'] = torch.cat([short.positions, torch.randn(4, 16)])
    long.load_state_dict(state)
    texts = ['red fox', 'sun']
    with torch.no_grad():
        assert torch.allclose(short(short.ids(texts)), long(long.ids(texts)), atol=1e-6)


def test_mean_of_the_words_by_hand(words):
    """With silenced blocks the embedding is the projected mean of the normalised word and position vectors."""
    text = tower(words)
    with torch.no_grad():
        for name, p in text.blocks.named_parameters():
            if 'out_proj' in name or 'linear2' in name:
                p.zero_()
        got = text(text.ids(['red sun']))
        rows = text.norm(text.words(torch.tensor([2, 5])) + text.positions[:2])
        assert torch.allclose(got[0], text.proj(rows.mean(0)), atol=1e-6)


def test_padding_alone_is_finite(words):
    text = tower(words)
    assert torch.isfinite(text(torch.zeros(1, 6, dtype=torch.int64))).all()


def test_weights_under_a_prefix(words, tmp_path):
    source = tower(words)
    save_file({f'text.{k}': v.contiguous() for k, v in source.state_dict().items()}, tmp_path / 'w.safetensors')
    text = tower(words, weights=str(tmp_path / 'w.safetensors'), prefix='text.')
    text.init_weights()
    ids = text.ids(['red apple'])
    assert torch.equal(text(ids), source(ids)) and text.logit_bias == source.logit_bias
    other = tower(words, weights=str(tmp_path / 'w.safetensors'), prefix='other.')
    with pytest.raises(InputError, match='missing'):
        other.init_weights()


@pytest.mark.parametrize('ids', [torch.tensor([[6]]), torch.tensor([[-1]]), torch.zeros(1, 7, dtype=torch.int64),
                                 torch.zeros(1, 2)])
def test_foreign_ids(words, ids):
    with pytest.raises(InputError, match='token ids'):
        tower(words).ids(ids)


def test_it_needs_a_tokenizer():
    """Padding is masked, and only the tokenizer knows which id that is."""
    with pytest.raises(InputError,
                       match='^tokenizer: MeanPoolText masks the padding of its tokenizer, and there is none'):
        TEXTS.build(dict(type='MeanPoolText', embed_dim=8, width=16, depth=1, heads=2, tokenizer=None))
