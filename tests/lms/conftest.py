"""Tiny language models of three families, built once; tests that change one take a copy."""
import copy

import pytest
import torch

from dtbox.registry import LMS

SIZES = dict(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=96)
CONFIGS = {'llama': dict(model_type='llama', tie_word_embeddings=True, rope_theta=5e5, **SIZES),
           'qwen2': dict(model_type='qwen2', tie_word_embeddings=False, rms_norm_eps=1e-6, **SIZES),
           'qwen3': dict(model_type='qwen3', tie_word_embeddings=True, head_dim=16, **SIZES)}
"""Family -> config: tied and untied, grouped queries, biases, norms of queries and keys."""
BUILT = {}


def make_lm(kind='llama', **changes):
    """Return a language model in evaluation whose weights, biases and norms are far from their start."""
    key = repr((kind, sorted(changes.items())))
    if key not in BUILT:
        torch.manual_seed(3)
        BUILT[key] = LMS.build(dict(type='HFCausalLM', config=CONFIGS[kind], **changes)).eval()
        with torch.no_grad():
            for p in BUILT[key].parameters():
                p.add_(torch.randn_like(p), alpha=0.1)
    return copy.deepcopy(BUILT[key])


def run_ids(lm, ids, positions=None, mask=None, cache=None):
    """Return the logits of ids [B,T]; positions count from 0 where none are given."""
    positions = torch.arange(ids.shape[1]).expand(ids.shape) if positions is None else positions
    return lm.text_logits(lm(lm.embed(ids), positions, mask, cache))


@pytest.fixture(params=CONFIGS)
def lm(request):
    return make_lm(request.param)


@pytest.fixture
def llama():
    return make_lm('llama')


@pytest.fixture
def ids():
    return torch.randint(0, 40, (3, 12), generator=torch.Generator().manual_seed(1))
