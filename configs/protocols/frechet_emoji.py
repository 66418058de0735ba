"""Frechet distance in the space of the packaged tower of emoji, the judge of the embedded recipes. Not an FID."""
protocol = dict(type='Scores', metrics=dict(frechet=dict(
    type='TowerFrechet', tower='siglip-tiny-twemoji', encoder=dict(
        type='TimmViT', name='vit_base_patch16_siglip_224', image_size=64,
        model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=8, act_layer='gelu_tanh'),
        weights='dtbox://siglip-tiny-twemoji', prefix='encoders.trunk.trunk.'))))
