"""The text-aligned encoder of the embedded recipes (see `siglip_tiny_twemoji.py`): 8 blocks, 64 tokens."""
encoder = dict(
    type='TimmViT', name='vit_base_patch16_siglip_224',
    model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=8, act_layer='gelu_tanh'),
    weights='dtbox://siglip-tiny-twemoji', prefix='encoders.trunk.trunk.')
