"""The text-aligned towers of the embedded recipes (see `siglip_tiny_twemoji.py`): 8 blocks for 64 tokens of an image, 2
blocks for a text."""
encoder = dict(
    type='TimmViT', name='vit_base_patch16_siglip_224',
    model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=8, act_layer='gelu_tanh'),
    weights='dtbox://siglip-tiny-twemoji', prefix='encoders.trunk.trunk.')
text_tower = dict(
    type='MeanPoolText', embed_dim=128, width=128, depth=2, heads=4, weights='dtbox://siglip-tiny-twemoji',
    prefix='text.', tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json',
                                   context_length=16))
