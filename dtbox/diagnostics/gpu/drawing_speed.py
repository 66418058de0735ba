"""Part `drawing`: seconds in which a multimodal language model of random weights draws, with guidance.

The language model has the sizes of Qwen2.5-0.5B with few text ids; an image has 64 places of 4 + 4 codes. What limits
it on a GPU is how fast the host gives work: see the part `gaps`.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from dtbox.apis.mllm_opening import place_model
from dtbox.counts import format_count
from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.rates import take_medians
from dtbox.mllm.contexts import Context
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer
from dtbox.mllm.image_generation import generate_images
from dtbox.mllm.model import MultimodalLM
from dtbox.sampling import Guidance, SamplingRule

PROMPTS = ('a red apple', 'a face', 'two dogs', 'a house by the sea')
QWEN = dict(model_type='qwen2', vocab_size=400, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
            num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True)
TINY = dict(model_type='qwen2', vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=160, tie_word_embeddings=True)


def build_model(settings: Settings, layers: int | None = None) -> MultimodalLM:
    """Return the model on the device in its float type, with so many layers; None takes those of its size.

    All is built on the CPU and moved as one, as `dtbox.load` does.
    """
    tokenizer = models.build_task(replace(settings, device_name='cpu'))[0].tokenizer
    frozen = FrozenTokenizer(tokenizer, source='the tokenizer of the check')
    config = dict(settings.choose(QWEN, TINY), **({} if layers is None else dict(num_hidden_layers=layers)))
    torch.manual_seed(1)
    model = MultimodalLM(
        frozen, lm=dict(type='HFCausalLM', config=config),
        visual_embedding=dict(type='CodesEmbedding'),
        visual_head=dict(type='DepthHead', **settings.choose(dict(inner=512, blocks=3, heads=8),
                                                             dict(inner=32, blocks=1, heads=2))),
        sequence=dict(tokenizer=dict(type='TrainedBPE', size=300, texts=list(PROMPTS)),
                      template=dict(type='PlainTemplate'), drop=0.1))
    return place_model(model, settings.device, settings.dtype)


def prepare_drawing(model: MultimodalLM, count: int) -> Callable[[], dict[str, torch.Tensor]]:
    """Return a function that draws `count` images."""
    rule, guidance = SamplingRule(temperature=0.7), Guidance(scale=2.0)
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(count)]

    def draw() -> dict[str, torch.Tensor]:
        contexts = [Context.of_text(model.sequence.prompt_for_drawing(text)) for text in prompts]
        generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
        return generate_images(model, contexts, rule, guidance, generators)
    return draw


def measure(settings: Settings, report: Report) -> None:
    """Measure drawings one at a time and many at a time; the same seeds have to give the same codes."""
    model = build_model(settings)
    counts = settings.choose((1, 16), (1, 2))
    calls = {f'{count} at a time': prepare_drawing(model, count) for count in counts}
    first, second = (calls[f'{counts[0]} at a time']() for _ in range(2))
    report.check('the same seed draws the same codes', all(torch.equal(first[n], second[n]) for n in first))
    places = model.places
    for (name, seconds), count in zip(take_medians(settings.time(calls, 0.25, rounds=2)).items(), counts):
        report.measure(f'drawings, {name}', count / seconds, 'images/s',
                       f'{1000 * seconds / places:.3g} ms a place, {format_count(places, "place")}, guidance 2')
