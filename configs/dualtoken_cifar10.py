"""DualToken on photographs: CIFAR-10, one ViT, two vocabularies, as in `dualtoken_rq.py` but without a discriminator.

Paper: DualToken, arXiv 2503.14324 (stage 1, scaled to 32 x 32 pixels and one CPU core). Start and teacher: `siglip_tiny_cifar10.py`.
Command: python tools/train.py configs/dualtoken_cifar10.py --cfg-options data_root=PATH
"""
_base_ = ['./_base_/datasets/cifar10.py']

batch_size = 32
max_iters = 350
quantizer = dict(type='RQ', size=1024, dim=16, depth=4)
encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224',
               model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=4, act_layer='gelu_tanh'),
               weights='dtbox://siglip-tiny-cifar10', prefix='encoders.trunk.trunk.')

model = dict(
    type='TokenizerTraining',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk='${encoder}'),
        vocabularies=dict(
            pixel=dict(taps={2: 1.0, 1: 0.6}, quantizer='${quantizer}'),
            semantic=dict(taps=7, quantizer='${quantizer}', reinject=7)),
        decoder=dict(type='ViTDecoder', reads=['pixel'], width=128, depth=2, heads=4, refine_channels=16),
        head=dict(type='TrunkPool'),
        text=dict(
            type='MeanPoolText', embed_dim=128, width=128, depth=2, heads=4, weights='dtbox://siglip-tiny-cifar10', prefix='text.',
            tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-cifar10/tokenizer.json', context_length=16))),
    teacher=dict(encoder='${encoder}', layer=7),
    losses=dict(
        semantic=dict(type='SemanticLoss', weight=5.0),
        pooled=dict(type='PooledLoss', weight=1.0),
        quantizers=dict(type='QuantizerLoss', weight=5.0),
        pixels=dict(type='L2Loss', weight=5.0),
        perceptual=dict(type='FeaturePerceptualLoss', layers=[1, 2], weight=1.0)))

# the first 200 of each class: enough for scores to a percent, and a fifth of the time
val_dataloader = dict(dataset=dict(limit=2000))
val_evaluator = [dict(type='PSNR'), dict(type='SSIM'), dict(type='TokenCosine'),
                 dict(type='ZeroShot', templates=['a photo of a {}'], ks=(1,)), dict(type='CodeUsage')]

optim_wrapper = dict(generator=dict(
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=1e-4), freeze=['text.*'],
    groups={'encoders.*': dict(lr_mult=0.3)}, clip_grad=dict(max_norm=1.0)))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}')
hooks = [dict(type='Log', interval=20, show=('l2', 'semantic_tokens')), dict(type='CodebookHealth', interval=20),
         dict(type='Checkpoint', interval=100), dict(type='Results'), dict(type='Pictures', interval=100)]
seed = 0
tiny = {'batch_size': 4, 'max_iters': 2}
