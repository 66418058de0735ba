"""Rows of special tokens: where they start, that they alone can learn, and that they are tied where the tables are."""
import pytest
import torch
import torch.nn.functional as F

from dtbox.errors import InputError
from dtbox.registry import LMS
from dtbox.training.optim import build_optim_wrappers
from tests.lms.conftest import CONFIGS, make_lm, run_ids

NEW = torch.tensor([[1, 40, 2, 42, 41, 3]])


def test_new_rows_are_means(lm, ids):
    """Of the ordinary rows of embedding and head; ordinary ids keep their embeddings and logits."""
    before, embedded = run_ids(lm, ids), lm.embed(ids)
    assert lm.resize(3) == 40 and lm.vocab_size == 43 and lm.added == 3
    assert torch.equal(run_ids(lm, ids)[..., :40], before) and torch.equal(lm.embed(ids), embedded)
    torch.testing.assert_close(lm.embed(NEW)[0, 1], lm.model.get_input_embeddings().weight.mean(0))
    hidden = torch.randn(2, 32)
    wanted = hidden @ lm.model.get_output_embeddings().weight.mean(0)
    torch.testing.assert_close(lm.text_logits(hidden)[:, 41], wanted, rtol=1e-4, atol=1e-5)


def test_tied_heads_stay_tied(lm):
    """A special row that changes changes embedding and logits where the tables are tied, else the embedding alone."""
    lm.resize(2)
    hidden = torch.randn(2, 32)
    before, embedded = lm.text_logits(hidden), lm.embed(NEW[:, :2])
    with torch.no_grad():
        lm.special.read[0] += 1
    assert torch.equal(lm.text_logits(hidden), before) != lm.tied
    assert not torch.equal(lm.embed(NEW[:, :2]), embedded)
    assert (lm.special.write is None) == lm.tied


def test_one_table_is_the_same_model(lm):
    """The rows beside the tables give the logits and gradients of the library's own larger tables."""
    lm.resize(3)
    for p in lm.special.parameters():
        torch.nn.init.normal_(p)
    twin = LMS.build(dict(type='HFCausalLM', config=dict(lm.architecture(), vocab_size=43, dtbox_special_rows=0)))
    state = lm.model.state_dict()
    for name, head in zip(lm._tables(), (False, True)):
        state[name] = lm.special.join(state[name], head)
    twin.model.load_state_dict(state)
    for model in (lm, twin):
        F.cross_entropy(run_ids(model, NEW)[:, :-1].flatten(0, 1), NEW[:, 1:].flatten()).backward()
    torch.testing.assert_close(run_ids(lm, NEW), run_ids(twin, NEW), rtol=1e-4, atol=1e-5)
    gradient = twin.model.get_input_embeddings().weight.grad
    torch.testing.assert_close(lm.special.read.grad, gradient[40:], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(lm.model.get_input_embeddings().weight.grad, gradient[:40], rtol=1e-4, atol=1e-6)


def test_they_learn_while_the_rest_is_frozen(llama):
    llama.resize(3)
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    optimizer = build_optim_wrappers(dict(lm=llama), dict(lm=dict(optimizer=dict(type='AdamW', lr=0.1),
                                                                  freeze=['model.*'])))['lm']
    llama.train()
    optimizer.update_params(run_ids(llama, NEW).square().mean())
    changed = {name for name, value in llama.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {'special.read'}


def test_more_and_fewer(llama):
    llama.resize(2)
    with torch.no_grad():
        llama.special.read[0] = 5.0
    assert llama.resize(2) == 40 and llama.resize(4) == 40
    assert (llama.special.read[0] == 5).all() and llama.vocab_size == 44
    with pytest.raises(InputError, match='1 special rows were asked for, and the language model has 4'):
        llama.resize(1)


def test_a_head_with_a_bias_is_refused():
    lm = LMS.build(dict(type='HFCausalLM', config=dict(model_type='phi', vocab_size=40, hidden_size=32,
                                                       intermediate_size=48, num_hidden_layers=1,
                                                       num_attention_heads=4)))
    with pytest.raises(InputError, match='head of this language model has a bias'):
        lm.resize(1)
    assert make_lm('qwen2').resize(0) == 40 and CONFIGS['qwen2']['tie_word_embeddings'] is False
