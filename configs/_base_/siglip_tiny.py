"""The text-aligned encoder of the embedded recipes: a ViT of 8 blocks, 128 channels and 64 tokens, trained by `siglip_tiny_twemoji.py`."""
encoder = dict(
    type='TimmViT', name='vit_base_patch16_siglip_224',
    model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=8, act_layer='gelu_tanh'),
    weights='dtbox://siglip-tiny-twemoji', prefix='encoders.trunk.trunk.')
