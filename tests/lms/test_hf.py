"""Through the slot a model is the library's own: logits, gradients, modes, backends."""
import copy

import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.registry import LMS
from tests.lms.conftest import CONFIGS, make_lm, run_ids


def make_reference(lm):
    """Return the class of the library itself with the weights of `lm`, in its own attention."""
    import transformers
    name = {'llama': 'Llama', 'qwen2': 'Qwen2', 'qwen3': 'Qwen3'}[lm.model.config.model_type]
    config = getattr(transformers, f'{name}Config')(**copy.deepcopy(lm.architecture()))
    reference = getattr(transformers, f'{name}ForCausalLM')(config).eval()
    reference.load_state_dict(lm.model.state_dict())
    assert reference.config._attn_implementation == 'sdpa'
    return reference


def test_logits_equal_the_library(lm, ids):
    """Same kernels and shapes: the same bits."""
    assert torch.equal(run_ids(lm, ids), make_reference(lm)(input_ids=ids).logits)


def test_gradients_of_a_step_equal_the_library(lm, ids):
    reference = make_reference(lm)
    F.cross_entropy(run_ids(lm, ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    reference(input_ids=ids, labels=ids).loss.backward()
    gradients = {name: p.grad for name, p in reference.named_parameters()}
    for name, p in lm.model.named_parameters():
        # sums over 33 places in another order
        torch.testing.assert_close(p.grad, gradients[name], rtol=1e-4, atol=1e-7)


def test_eager_equals_sdpa(ids):
    """The same scores by other kernels, with and without a mask; in a step of one place, too."""
    a, b = make_lm('llama'), make_lm('llama', attention='eager')
    b.load_state_dict(a.state_dict())
    mask = torch.ones(3, 12, 12, dtype=torch.bool).tril()
    mask[:, :, :2] = False
    for given in (None, mask):
        torch.testing.assert_close(run_ids(b, ids, mask=given), run_ids(a, ids, mask=given), rtol=1e-4, atol=1e-5)
    cache = b.make_cache(3, 12)
    steps = [run_ids(b, ids[:, t:t + 1], torch.full((3, 1), t), cache=cache) for t in range(12)]
    torch.testing.assert_close(torch.cat(steps, 1), run_ids(a, ids), rtol=1e-4, atol=1e-5)


def test_recompute_changes_no_gradient(ids):
    """Blocks run again in the backward pass, and give the same bits; also of a frozen model, for what is before it."""
    found = []
    for recompute in (False, True):
        lm = make_lm('llama', recompute=recompute).requires_grad_(False).train()
        calls = []
        lm.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
        x = lm.embed(ids).requires_grad_()
        lm(x, torch.arange(12).expand(3, 12)).square().sum().backward()
        found.append((x.grad, len(calls)))
    assert torch.equal(found[0][0], found[1][0]) and [calls for _, calls in found] == [1, 2]


def test_a_frozen_model_has_no_dropout(ids):
    lm = LMS.build(dict(type='HFCausalLM', config=dict(CONFIGS['llama'], attention_dropout=0.5), recompute=True))
    assert not torch.equal(run_ids(lm, ids), run_ids(lm, ids))
    lm.requires_grad_(False).train()
    assert torch.equal(run_ids(lm, ids), run_ids(lm, ids))


def test_dtype(ids):
    """The weights have the type, and so have the hidden states."""
    lm = LMS.build(dict(type='HFCausalLM', config=CONFIGS['llama'], dtype='bfloat16'))
    lm.resize(2)
    assert {p.dtype for p in lm.model.parameters()} == {torch.bfloat16}
    assert run_ids(lm, ids).dtype == torch.bfloat16 and lm.special.read.dtype == torch.float32


def test_architecture_builds_the_same_model(lm, ids):
    lm.resize(2)
    twin = LMS.build(dict(type='HFCausalLM', config=lm.architecture())).eval()
    twin.load_state_dict(lm.state_dict())
    assert torch.equal(run_ids(twin, ids), run_ids(lm, ids)) and twin.added == 2


@pytest.mark.parametrize('config, words', [
    (dict(model_type='lama'), '`model_type` is \'lama\''),
    (dict(hidden_size=32), '`model_type` is None'),
    (dict(CONFIGS['llama'], hidden_sise=3), 'no entry `hidden_sise`. Did you mean `hidden_size`'),
    (dict(CONFIGS['llama'], hidden_size=30, num_attention_heads=4), 'not a multiple'),
    (dict(CONFIGS['llama'], hidden_size='wide'), 'hidden_size'),
    (dict(CONFIGS['qwen2'], model_type='mamba'), 'no entry'),
    (dict(model_type='granite', logits_scaling=2.0), '`logits_scaling` = 2.0 is not supported'),
    (dict(model_type='t5'), 'has an encoder'),
])
def test_configs_that_are_refused(config, words):
    with pytest.raises(InputError) as caught:
        LMS.build(dict(type='HFCausalLM', config=config))
    assert words in str(caught.value)


def test_neither_config_nor_weights():
    with pytest.raises(InputError, match='got neither'):
        LMS.build(dict(type='HFCausalLM'))


def test_sizes_of_the_text_tokenizer():
    """They fill what the config leaves out; a model with fewer ids is refused, one with more is fine."""
    config = {k: v for k, v in CONFIGS['llama'].items() if k != 'vocab_size'}
    assert LMS.build(dict(type='HFCausalLM', config=config), vocab_size=17).vocab_size == 17
    assert LMS.build(dict(type='HFCausalLM', config=CONFIGS['llama']), vocab_size=17).vocab_size == 40
    with pytest.raises(InputError, match='40 ids, and the text tokenizer 41'):
        LMS.build(dict(type='HFCausalLM', config=CONFIGS['llama']), vocab_size=41)


def test_a_sliding_window_limits_the_context():
    """Masks of a packed row do not slide, so the window must not bite."""
    config = dict(CONFIGS['qwen2'], use_sliding_window=True, sliding_window=24, max_window_layers=1)
    lm = LMS.build(dict(type='HFCausalLM', config=config))
    assert lm.context_length == 24 and make_lm('qwen2').context_length == 96
    with pytest.raises(InputError, match='25 places came, and its attention slides over 24'):
        lm(torch.zeros(1, 25, 32), torch.arange(25)[None])


def test_odd_places(llama):
    x, positions = torch.zeros(2, 5, 32), torch.arange(5).expand(2, 5)
    for args, words in [((x[..., :31], positions), r'expected floats \[B, T, 32\]'),
                        ((x.long(), positions), 'expected floats'),
                        ((x, positions[:1]), r'expected int64 \[2, 5\]'),
                        ((x, positions, torch.ones(2, 5, 6).bool()), r'expected bool \[2, 5, 5\]'),
                        ((x, positions, torch.ones(2, 5, 5)), r'expected bool \[2, 5, 5\]'),
                        ((x, positions, None, llama.make_cache(3, 9)), '2 rows came with a cache of 3')]:
        with pytest.raises(InputError, match=words):
            llama(*args)


def test_ids_that_there_are_not(llama):
    for added in (0, 2):
        llama.resize(added)
        for wrong in (-1, 40 + added):
            with pytest.raises(InputError, match=f'to {wrong} came|from {wrong} to'):
                llama.embed(torch.tensor([[3, wrong]]))


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'transformers', None)
    with pytest.raises(InputError, match=r'pip install "dtbox\[mllm\]"'):
        LMS.build(dict(type='HFCausalLM', config=CONFIGS['llama']))
