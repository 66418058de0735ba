"""A tokenizer so small that every value can be followed: 16 pixels, patches of 4, width 32, four blocks."""
import pytest
import torch

from dtbox.registry import TOKENIZERS

MODEL = dict(embed_dim=32, depth=4, num_heads=2, patch_size=4)
RQ = dict(type='RQ', size=8, dim=8, depth=2)
PLAIN = dict(type='TimmViT', name='vit_base_patch16_siglip_224', model_args=MODEL)
PREFIXED = dict(type='TimmViT', name='vit_small_patch14_reg4_dinov2', model_args=MODEL)
"""Without prefix tokens and with attention pool; and with a class token and four registers."""


def vocabulary(taps, **args):
    return dict(dict(taps=taps, quantizer=RQ), **args)


def dualtoken(**changes):
    """Config of a DualToken in small: pixel codes from layers 2 and 1, semantic codes from layer 3, which they
    replace."""
    cfg = dict(type='VisualTokenizer', image_size=16, encoders=dict(trunk=PLAIN), head=dict(type='TrunkPool'),
               vocabularies=dict(pixel=vocabulary({2: 1.0, 1: 0.6}), semantic=vocabulary(3, reinject=3)),
               decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=32, blocks=1))
    return {**cfg, **changes}


def build(**changes):
    """Return such a tokenizer in evaluation mode, its weights large enough to tell layers apart."""
    model = TOKENIZERS.build(dualtoken(**changes))
    for parameter in model.encoders.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def blocks_run(model, name='trunk'):
    """Return a list that grows by the number of each block of encoder `name` that runs."""
    calls = []
    for i, block in enumerate(model.encoders[name].trunk.blocks):
        block.register_forward_hook(lambda *_, i=i: calls.append(i + 1))
    return calls


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 16) * 2 - 1
