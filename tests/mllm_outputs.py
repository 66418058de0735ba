"""Made-up outputs of a multimodal language model, and a judge whose embeddings are points of a circle."""
import math

import torch

from dtbox.evaluation import EvalContext
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.structures import Batch


def replies_of(*samples):
    """(kind, truth, reply) of each sample -> (Batch, MLLMOutput)."""
    replies = [[Reply(kind, 'what?', truth, reply) for kind, truth, reply in sample] for sample in samples]
    images = torch.zeros(len(replies), 3, 2, 2)
    return Batch(images=images, keys=[f'{i}' for i in range(len(replies))]), MLLMOutput(images, replies=replies)


def run(metric, *pairs, context=None):
    metric.setup(context or EvalContext())
    for pair in pairs:
        metric.process(*pair)
    return metric


def unit(*degrees):
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def images_of(*degrees):
    """[n,3,2,2] whose two first channels are the point of a circle: what `JUDGE` embeds them to."""
    return torch.cat([unit(*degrees), torch.zeros(len(degrees), 1)], 1)[:, :, None, None].expand(-1, -1, 2, 2)


JUDGE = EvalContext(teacher=lambda images: 3 * images.mean((2, 3))[:, :2],
                    embed_text=lambda texts: unit(*map(float, texts)))


def drawings_of(degrees, prompts=None, **ways):
    """Real images at `degrees`; way -> list over seeds of degrees."""
    drawings = {name: torch.stack([images_of(*seed) for seed in seeds], 1) for name, seeds in ways.items()}
    prompts = prompts or [str(d) for d in degrees]
    return (Batch(images=images_of(*degrees), keys=prompts),
            MLLMOutput(images_of(*degrees), drawings=drawings, prompts=prompts))
