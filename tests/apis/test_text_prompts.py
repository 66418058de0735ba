"""Answers of a language model before and after it was trained on images, of a tiny one with adapters."""
import sys

import pytest

from dtbox.apis.text_prompts import TEXT_PROMPTS, UNSEEN_PROMPTS, compare_answers, format_answers
from dtbox.errors import InputError
from dtbox.registry import LMS
from tests import mllm_kit as kit
from tests.conversation_data import write_chat_folder
from tests.training.test_mllm_runs import config, make_runner  # noqa: F401

pytest.importorskip('peft')
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='forks')
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}")
PROMPTS = ['what is it?', 'a cat', 'system']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A tiny pretrained language model with its chat template."""
    path = tmp_path_factory.mktemp('lm') / 'model'
    LMS.build(dict(type='HFCausalLM', config=dict(kit.LLAMA, vocab_size=300,
                                                 initializer_range=0.5))).save_pretrained(str(path))
    return write_chat_folder(path, TEMPLATE)


def train(config, run, folder, rate):  # noqa: F811
    """Two iterations of adapters at a learning rate."""
    make_runner(config, run, max_iters=2, model__sequence__template=dict(type='ChatTemplate'),
                model__lm=dict(_delete_=True, type='HFCausalLM', pretrained=folder, lora=dict(r=2, lora_alpha=4)),
                model__sequence__tokenizer=dict(type='PretrainedTokenizer', path=folder), val_dataloader=None,
                val_evaluator=None, hooks__results=None, train_cfg=dict(_delete_=True, max_iters='${max_iters}'),
                optim_wrapper__model__optimizer=dict(_delete_=True, type='SGD', lr=rate)).train()
    return str(run)


def test_answers_before_and_after(config, folder, tmp_path):  # noqa: F811
    """Without learning they are the same; with it, those before stay and those after are others."""
    still, moved = (compare_answers(train(config, tmp_path / name, folder, rate), prompts=PROMPTS, max_tokens=8)
                    for name, rate in (('still', 0.0), ('moved', 3.0)))
    assert [row[0] for row in still] == PROMPTS and all(before == after for _, before, after in still)
    assert [row[1] for row in moved] == [row[1] for row in still] and any(before for _, before, _ in still)
    assert any(before != after for _, before, after in moved)


def test_a_model_from_nothing(config, tmp_path):  # noqa: F811
    make_runner(config, tmp_path / 'run', max_iters=1, val_dataloader=None, val_evaluator=None, hooks__results=None,
                train_cfg=dict(_delete_=True, max_iters='${max_iters}')).train()
    with pytest.raises(InputError, match='trained from nothing: there are no answers before it'):
        compare_answers(str(tmp_path / 'run'))


def test_the_table():
    """A row a prompt, whatever stands in the answers."""
    table = format_answers([('a?', 'yes | no\nor', ''), ('b?', 'x', 'x')])
    assert table.splitlines()[2:] == ['| a? | yes \\| no or | (nothing) |', '| b? | x | x |', '',
                                      '1 of 2 answers are the same, word for word.']


def test_the_prompts():
    """Twenty of each, all different."""
    assert len(set(TEXT_PROMPTS)) == len(set(UNSEEN_PROMPTS)) == 20
