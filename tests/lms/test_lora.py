"""Adapters: what trains, what a written folder holds, what is refused."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.registry import LMS
from dtbox.training.optim import build_optim_wrappers
from tests.lms.conftest import CONFIGS, make_lm, run_ids

pytest.importorskip('peft')
NEW = torch.tensor([[1, 40, 2, 41, 7, 3]])
TARGETS = 7
"""Linear layers of a block."""


def make_adapted(kind='llama', **lora):
    lm = make_lm(kind, lora=dict(dict(r=2, lora_alpha=8), **lora))
    lm.resize(2)
    return lm


def test_adapters_start_as_nothing(ids):
    lm, plain = LMS.build(dict(type='HFCausalLM', config=CONFIGS['llama'], lora=dict(r=2))), make_lm('llama')
    own = {name.replace('.base_layer.', '.'): value for name, value in lm.model.state_dict().items()}
    plain.model.load_state_dict({name: value for name, value in own.items() if 'lora' not in name})
    torch.testing.assert_close(run_ids(lm, ids), run_ids(plain, ids))


@pytest.mark.parametrize('kind', CONFIGS)
def test_what_trains(kind):
    """A step moves adapters and special rows, and no bit of the base, whatever an optimizer is told."""
    lm = make_adapted(kind)
    before = {name: value.clone() for name, value in lm.state_dict().items()}
    optimizer = build_optim_wrappers(dict(lm=lm), dict(lm=dict(optimizer=dict(type='AdamW', lr=0.1))))['lm']
    lm.train()
    optimizer.update_params(run_ids(lm, NEW).square().mean())
    changed = {name for name, value in lm.state_dict().items() if not torch.equal(value, before[name])}
    assert sum('lora_' in name for name in changed) == 2 * 2 * TARGETS
    rows = {'special.read'} if lm.tied else {'special.read', 'special.write'}
    assert {name for name in changed if 'lora_' not in name} == rows


@pytest.mark.parametrize('more', [{}, dict(use_dora=True), dict(use_rslora=True)])
def test_a_written_folder_is_plain(tmp_path, more):
    """Merged: `transformers` alone gives the logits of the adapted model; the model itself stays as it was."""
    from transformers import AutoModelForCausalLM
    lm = make_adapted('qwen2', **more)
    before = {name: value.clone() for name, value in lm.state_dict().items()}
    lm.save_pretrained(tmp_path / 'lm')
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / 'lm')
    # a product of two layers is added before or after the sum over channels
    torch.testing.assert_close(alone(input_ids=NEW).logits, run_ids(lm, NEW), rtol=1e-4, atol=1e-4)
    assert {name for name, _ in alone.named_parameters()} == dict(make_lm('qwen2').model.named_parameters()).keys()
    assert all(torch.equal(value, before[name]) for name, value in lm.state_dict().items())


def test_on_loaded_weights(tmp_path, ids):
    """The base is the folder's."""
    plain = make_lm('qwen3')
    plain.save_pretrained(tmp_path / 'lm')
    lm = LMS.build(dict(type='HFCausalLM', pretrained=str(tmp_path / 'lm'), lora=dict(r=2))).eval()
    lm.init_weights()
    torch.testing.assert_close(run_ids(lm, ids), run_ids(plain, ids))
    assert lm.tied and lm.model.lm_head.weight is lm.model.model.embed_tokens.weight


@pytest.mark.parametrize('lora, words', [
    (dict(rank=2), '`LoraConfig` takes no argument `rank`'),
    (dict(target_modules=['q_porj']), 'cannot be put into the language model'),
    (dict(target_modules=['embed_tokens']), 'reach the embedding of the language model'),
    (dict(target_modules=['q_proj', 'lm_head']), 'reach the head of the language model'),
    (dict(modules_to_save=['lm_head']), 'lora.modules_to_save: '),
    (dict(trainable_token_indices=[3]), 'rows of special tokens are trained in any case'),
    (dict(init_lora_weights='pissa'), "`init_lora_weights` is 'pissa'"),
])
def test_adapters_that_are_refused(lora, words):
    with pytest.raises(InputError) as caught:
        LMS.build(dict(type='HFCausalLM', config=CONFIGS['llama'], lora=lora))
    assert words in str(caught.value)
