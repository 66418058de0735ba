"""What a multimodal language model takes: counted without weights, checked by hand and against one that is really
run."""
import json

import pytest
import torch

from dtbox.config import load_config, resolve
from dtbox.errors import InputError
from dtbox.registry import MODELS
from dtbox.sizing.describe import Part
from dtbox.sizing.describe_mllm import MLLMDescription, describe_mllm
from tools.describe import main

N, Q = 64, 4
"""Places of an image, depths."""
K, E = 1024, 16
"""Codes, width of their rows."""
H, V = 192, 1536
"""Width of the language model, text ids."""
MLP, LAYERS = 512, 4
"""Width of its MLP, its blocks."""
W, BLOCKS = 128, 2
"""Width of the visual head, its blocks."""
INNER = -(-8 * W // 24) * 8
TEXT = 32


@pytest.fixture(scope='module')
def recipe():
    return describe_mllm(resolve(load_config('mllm_twemoji')), TEXT)


def test_parameters_by_hand(recipe):
    """A Llama whose head is its table, the MLP of two streams' rows, two depth transformers; the rest is frozen."""
    found = {name: (part.parameters, part.trained) for name, part in recipe.parts.items()}
    lm = V * H + LAYERS * (4 * H * H + 3 * H * MLP + 2 * H) + H
    embedding = (2 * E * H + H) + (H * H + H)
    block = 4 * W * W + 3 * W * INNER + 2 * W
    chain = (H * W + W) + (W * W + W) + (E * W + W) + Q * W + BLOCKS * block + W + Q * K * W
    assert found['lm'] == (lm, lm) and found['text logits'] == (0, 0)
    assert found['visual embedding'] == (embedding, embedding)
    assert found['visual head'] == (2 * chain, 2 * chain)
    assert found['tokenizer'][1] == found['judge'][1] == 0 and 'special rows' not in found


def test_parameters_are_those_of_the_model(recipe):
    model = MODELS.build(resolve(load_config('mllm_twemoji')).model)
    own = [part.parameters for name, part in recipe.parts.items() if name not in ('tokenizer', 'judge')]
    assert sum(own) == sum(p.numel() for p in model.model.parameters())
    assert recipe.parts['tokenizer'].parameters == sum(p.numel() for p in model.tokenizer.model.parameters())
    assert recipe.parts['judge'].parameters == sum(p.numel() for p in model.judge.parameters())


def test_places_and_codes(recipe):
    """bos, text, start, image, end, eos."""
    assert (recipe.tokens, recipe.bits, recipe.context) == (N, N * 2 * Q * 10, 256)
    assert recipe.streams == dict(pixel=(N, Q, K), semantic=(N, Q, K))
    assert recipe.lengths == dict(drawing=TEXT + N + 4, caption=TEXT + N + 4)


def test_flops_by_hand(recipe):
    """Half of the places of a drawing go through the head (`keep_share`), and none of a caption."""
    t = TEXT + N + 4
    lm = LAYERS * (2 * t * (4 * H * H + 3 * H * MLP) + 4 * t * t * H)
    places = N // 2
    block = 2 * Q * (4 * W * W + 3 * W * INNER) + 4 * Q * Q * W
    chain = 2 * (H * W + W * W) + 2 * (Q - 1) * E * W + BLOCKS * block + 2 * Q * K * W
    flops = {name: part.flops for name, part in recipe.parts.items()}
    assert flops['lm'] == lm == recipe.captions['lm']
    assert flops['text logits'] == 2 * 2 * H * V and recipe.captions['text logits'] == 2 * (TEXT + 1) * H * V
    assert flops['visual embedding'] == 2 * N * (2 * E * H + H * H)
    assert flops['visual head'] == 2 * places * chain and 'visual head' not in recipe.captions
    assert recipe.step_flops() == 3 * (lm + sum(flops[name] for name in ('text logits', 'visual embedding',
                                                                         'visual head')))


def test_activations_are_what_autograd_keeps(recipe):
    """As much as a real pass of one drawing of the same length keeps, within a tenth: its masks and targets are left
    out."""
    torch.manual_seed(0)
    task = MODELS.build(resolve(load_config('mllm_twemoji')).model)
    model = task.model.train()
    words = [12] * TEXT
    prompt = [model.sequence.tokens.bos, *words, model.sequence.tokens.drawn[0]]

    def keep(batch):
        kept, weights = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}
        codes = {name: torch.randint(K, (batch, N, Q)) for name in model.names}
        ids = torch.tensor([prompt + [model.sequence.tokens.image] * N + [model.sequence.tokens.drawn[1], 2]] * batch)
        x = model.lm.embed(ids)
        first = len(prompt)

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() not in weights:
                kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
            return tensor
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            x = torch.cat([x[:, :first], model.visual_embedding(codes), x[:, first + N:]], 1)
            hidden = model.lm(x, torch.arange(x.shape[1]).expand(batch, -1))
            logits = model.lm.text_logits(hidden[:, -3:-1])
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -2:].flatten(), reduction='sum')
            half = hidden[:, first - 1:first - 1 + N // 2].flatten(0, 1)
            model.visual_head.losses(half, {name: c[:, :N // 2].flatten(0, 1) for name, c in codes.items()})
        return sum(size for size, _ in kept.values())
    one, two = keep(1), keep(2)
    assert recipe.activations == pytest.approx(two - one, rel=0.1)
    assert recipe.fixed == pytest.approx(2 * one - two, rel=0.1)
    assert recipe.fixed >= 2 * Q * K * W * 4  # the gradients of all classifiers, once


def test_steps_and_memory_by_hand():
    parts = {'tokenizer': Part(30, 0, 50.0), 'lm': Part(100, 0, 10.0, True, 2), 'lm adapters': Part(10, 10),
             'special rows': Part(4, 4), 'text logits': Part(flops=1.0), 'visual head': Part(8, 8, 5.0)}
    found = MLLMDescription(parts, 4, 1.0, {}, buffers=1000, activations=400, captions=dict(lm=20.0), fixed=50.0,
                            at_once=2)
    assert found.step_flops() == 10 * (2 + 1) + 1 * 2 + 5 * 3 and found.step_flops('caption') == 20 * 3
    assert found.state_bytes() == 30 * 4 + 100 * 2 + (10 + 4 + 8) * 4 * 4 + 1000 + 50
    assert found.memory(1) == found.state_bytes() + 400 and found.memory(8) == found.state_bytes() + 2 * 400
    assert found.largest_batch(found.memory(2)) == 2


@pytest.fixture
def pretrained(tmp_path):
    """A folder of a language model of which only config.json is there."""
    sizes = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                 intermediate_size=96, vocab_size=600, max_position_embeddings=512, tie_word_embeddings=False)
    (tmp_path / 'qwen').mkdir()
    (tmp_path / 'qwen' / 'config.json').write_text(json.dumps(dict(
        sizes, model_type='qwen2', architectures=['Qwen2ForCausalLM'])))
    return str(tmp_path / 'qwen')


def configure(folder, **lm):
    cfg = load_config('mllm_twemoji')
    cfg.model.lm = dict(type='HFCausalLM', pretrained=folder, **lm)
    cfg.model.sequence = dict(tokenizer=dict(type='PretrainedTokenizer', path=folder),
                              template=dict(type='ChatTemplate'), drop=0.1)
    return resolve(cfg)


def test_a_pretrained_model_without_weights(pretrained):
    """Counted from config.json alone, with rows for the six special tokens; grouped queries are counted as heads."""
    found = describe_mllm(configure(pretrained), TEXT)
    block = 64 * 64 * 2 + 2 * 64 * 32 + (64 + 2 * 32) + 3 * 64 * 96 + 2 * 64  # q and o, k and v, biases, MLP, norms
    assert found.parts['lm'].parameters == 2 * 600 * 64 + 3 * block + 64
    assert (found.parts['special rows'].parameters, found.special) == (2 * 6 * 64, 6)
    length = TEXT + N + 4
    products = 2 * length * (64 * 64 * 2 + 2 * 64 * 32 + 3 * 64 * 96)
    assert found.parts['lm'].flops == 3 * (products + 4 * length ** 2 * 64)
    assert len(found.missing) == 1 and 'the text tokenizer is not there' in found.missing[0]


def test_adapters_and_types(pretrained):
    """The base is frozen in bfloat16, adapters and special rows learn in float32."""
    pytest.importorskip('peft')
    found = describe_mllm(configure(pretrained, lora=dict(r=4, target_modules=['q_proj']), dtype='bfloat16'), TEXT)
    assert found.parts['lm'].trained == 0 and found.parts['lm'].size == 2
    assert found.parts['lm adapters'].trained == found.parts['lm adapters'].parameters == 3 * 2 * 4 * 64
    assert found.parts['special rows'].size == 4 and found.parts['special rows'].trained == 2 * 6 * 64


def test_a_tokenizer_that_has_not_run():
    """The recipe of a tokenizer stands for its run; something else is refused by name."""
    cfg = load_config('mllm_twemoji', dict(tokenizer='paper/dualtoken_so400m_256_rq4'))
    cfg.model.lm.config.max_position_embeddings = 512
    found = describe_mllm(resolve(cfg), TEXT)
    assert found.tokens == 256 and found.parts['tokenizer'].parameters > 4e8
    cfg = load_config('mllm_twemoji', dict(tokenizer='mllm_twemoji'))
    with pytest.raises(InputError, match='a multimodal language model; expected a tokenizer'):
        describe_mllm(resolve(cfg), TEXT)


def test_patterns_freeze_parts():
    cfg = load_config('mllm_twemoji')
    cfg.optim_wrapper.model['freeze'] = ['lm.*']
    found = describe_mllm(resolve(cfg), TEXT)
    assert found.parts['lm'].trained == 0 and found.parts['visual head'].trained > 0
    cfg.optim_wrapper.model['freeze'] = ['lmm.*']
    with pytest.raises(InputError, match='the pattern `lmm.*` matches no parameter'):
        describe_mllm(resolve(cfg), TEXT)


def test_the_command(capsys):
    main(['mllm_twemoji', '--gpus', '2', '--text', '10'])
    out = capsys.readouterr().out
    assert 'codes of pixel: 64 places of 4 codes, 1,024 each (40 bits a place)' in out
    assert 'an image: 64 places of a sequence, 512 codes, 5,120 bits' in out
    assert 'a sequence: 78 of a drawing, 78 of a caption, with 10 tokens of text' in out
    assert 'at 12 drawings' in out and 'days for 3,200 iterations' in out and 'assumed: every sample' in out
    for arguments, says in ((['mllm_twemoji', '--text', '0'], '0 text tokens'),
                            (['dualtoken_rq', '--text', '3'], 'is a tokenizer, whose samples have no text')):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2 and says in capsys.readouterr().err
