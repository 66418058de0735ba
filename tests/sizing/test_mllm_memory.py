"""Memory of a GPU while a language model trains, by hand: whole and divided, activations kept and recomputed."""

from dtbox.config import load_config, resolve
from dtbox.sizing.describe import Part
from dtbox.sizing.describe_mllm import MLLMDescription, describe_mllm
from dtbox.sizing.mllm_memory import Pieces, format_memory, measure_memory

PARTS = {'tokenizer': Part(30), 'lm': Part(1000, 1000), 'special rows': Part(4, 4), 'text logits': Part(),
         'visual head': Part(100, 100)}
KEPT = {False: 400.0, True: 100.0}
LM = dict(model_type='llama', hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
          intermediate_size=96, max_position_embeddings=256, tie_word_embeddings=True)


def make(**more):
    return MLLMDescription(PARTS, 4, 1.0, {}, buffers=50, activations=400.0, fixed=10.0, at_once=2, kept=KEPT,
                           pieces=Pieces((400, 400), (800, 800), 3, (200, 600, 60)), **more)


def test_whole():
    """Weights, gradients and moments in float32; copies of all blocks, of one where it is recomputed."""
    found = measure_memory(make(), 8, 1, False)
    assert (found.weights, found.gradients, found.moments) == (4 * 1104, 4 * 1104, 8 * 1104)
    assert (found.others, found.gathered, found.copies) == (4 * 30 + 50 + 10, 0, 660)
    assert found.activations == 2 * 400 and found.total == 16 * 1104 + 180 + 660 + 800
    again = measure_memory(make(), 8, 1, True)
    assert again.activations == 2 * (100 + 300 / 3) and again.copies == 260
    assert measure_memory(make(), 1, 1, False).activations == 400


def test_divided():
    """A fourth of the state; two blocks, the gradients of one, and all that is in no block, with its gradients."""
    found = measure_memory(make(), 8, 4, True)
    assert found.weights + found.gradients + found.moments == 4 * 1104 and found.gathered == 800 + 800 + 2 * 400 + 400
    assert found.others == measure_memory(make(), 8, 1, True).others


def test_largest_batch_of_divided_models():
    found = make(shards=4)
    both = measure_memory(found, 2, 4).total
    assert found.memory(1) < both == found.memory(2) == found.memory(8)  # two are computed at a time
    assert found.largest_batch(both) == 2 and found.largest_batch(both - 1) == 1 and found.state_bytes() < both


def test_the_table():
    """Four columns: whole and divided, kept and recomputed; the last row is the sum."""
    lines = format_memory(make(), 8, 4).splitlines()
    assert [head.strip() for head in lines[0][28:].split('  ') if head] == [
        'whole, kept', 'whole, recomputed', '1/4, kept', '1/4, recomputed']
    assert [line.split('  ')[0] for line in lines[1:]] == [
        'weights', 'gradients', "Adam's moments", 'tokenizer, judge, codes', 'gathered at a time',
        'bfloat16 copies of weights', 'activations of 2', 'all']
    assert len(format_memory(make(), 8, 1).splitlines()[0][28:].split(',')) == 3  # one GPU has nothing to divide


def describe(**options):
    """Count a language model of four blocks of width 64, 8 tokens of text, on two GPUs."""
    cfg = load_config('mllm_twemoji', options)
    cfg.model.lm.config = LM
    return describe_mllm(resolve(cfg), 8, gpus=2)


def test_counted():
    """Recomputation keeps the inputs of blocks; pieces are those of the model; DDP divides nothing."""
    plain, half = describe(), describe(amp='bfloat16', model_wrapper_cfg=dict(type='FSDP2'))
    block, head = 4 * 64 * 64 + 3 * 64 * 96, 4 * 128 * 128 + 3 * 128 * 344 + 2 * 128
    assert (plain.shards, half.shards, plain.pieces.blocks) == (1, 2, 4)
    assert plain.pieces.copies == (0, 0, 0) and half.pieces.copies == (2 * block, 8 * block, 2 * 64 * 1536)
    assert plain.pieces.block == (4 * max(head, block + 2 * 64),) * 2
    rest = sum(part.parameters for name, part in plain.parts.items() if name not in ('tokenizer', 'judge'))
    assert plain.pieces.rest == (4 * (rest - 4 * (block + 2 * 64) - 4 * head),) * 2
    assert plain.kept[False] == plain.activations and plain.kept[True] < 0.6 * plain.kept[False]
