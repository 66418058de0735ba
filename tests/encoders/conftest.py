"""Small models of every family."""
import json

import pytest
import torch

from dtbox.registry import ENCODERS

SMALL = dict(depth=3, embed_dim=32, num_heads=2)
TIMM = {
    'vit': ('vit_tiny_patch16_224', 48, SMALL), 'siglip': ('vit_base_patch16_siglip_224', 48, SMALL),
    'clip': ('vit_base_patch16_clip_224', 48, SMALL), 'registers': ('vit_small_patch14_reg4_dinov2', 42, SMALL),
    'average': ('vit_so150m_patch16_reg4_gap_256', 48, SMALL), 'eva02': ('eva02_tiny_patch14_224', 42, SMALL),
    'dinov3': ('vit_small_patch16_dinov3', 48, SMALL), 'mixed rope': ('vit_small_patch16_rope_mixed_224', 48, SMALL)}
"""Family -> timm name, image size, model_args."""
PREFIX = dict(vit=1, siglip=0, clip=1, registers=5, average=4, eva02=1, dinov3=5) | {'mixed rope': 1}
"""Family -> prefix tokens: class token and registers."""


@pytest.fixture(scope='session')
def tiny_clip(tmp_path_factory):
    """Names of tiny open_clip models: the tower on its own transformer, and one on a timm trunk."""
    import open_clip
    folder = tmp_path_factory.mktemp('open_clip')
    text = dict(context_length=8, vocab_size=40, width=32, heads=2, layers=2)
    own = dict(image_size=32, layers=3, width=32, head_width=16, patch_size=8)
    timm = dict(image_size=160, timm_model_name='test_vit', timm_model_pretrained=False, timm_pool='token',
                timm_proj='linear')
    for name, vision in (('dtbox-own', own), ('dtbox-timm', timm),
                         ('dtbox-resnet', dict(own, layers=[1, 1, 1, 1], image_size=64))):
        (folder / f'{name}.json').write_text(json.dumps(dict(embed_dim=16, vision_cfg=vision, text_cfg=text)))
    open_clip.add_model_config(folder)
    return 'dtbox-own', 'dtbox-timm'


@pytest.fixture
def build(tiny_clip):
    """Return build(family, **args) -> encoder with random weights (biases and norms too), in evaluation mode."""
    def build(family, **args):
        if family in TIMM:
            name, size, model_args = TIMM[family]
            cfg = dict(type='TimmViT', name=name, image_size=size, model_args=model_args)
        else:
            cfg = dict(type='OpenCLIPTower', mean=(0.5,) * 3, std=(0.5,) * 3,
                       name=dict(zip(('open_clip', 'open_clip on timm'), tiny_clip))[family])
        encoder = ENCODERS.build({**cfg, **args})
        torch.manual_seed(1)
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return encoder.eval()
    return build


FAMILIES = [*TIMM, 'open_clip', 'open_clip on timm']
