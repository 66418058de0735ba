"""DualToken: one ViT, two vocabularies. Pixel codes from a shallow layer feed the decoder, semantic codes from a deep layer
replace the trunk's tokens, so that what follows - the last block, the pool, zero-shot and retrieval - reads tokens alone.

Paper: DualToken, arXiv 2503.14324 (stage 1, scaled to 64 x 64 pixels and two CPU cores).
Command: python tools/train.py configs/dualtoken_rq.py
Two CPU cores, 4 minutes, 1.5 GB: PSNR 22.83 dB, SSIM 0.760, token cosine 0.984, 97.7 % of the teacher's R@1 on `variants` kept.
"""
_base_ = ['./_base_/datasets/pictures64.py']

batch_size = 32
max_iters = 600
quantizer = dict(type='RQ', size=1024, dim=16, depth=4)
encoder = dict(type='TimmViT', name='vit_base_patch16_siglip_224',
               model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=8, act_layer='gelu_tanh'),
               weights='dtbox://siglip-tiny-twemoji', prefix='encoders.trunk.trunk.')

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk='${encoder}'),
        vocabularies=dict(
            pixel=dict(taps={2: 1.0, 1: 0.6}, quantizer='${quantizer}'),
            semantic=dict(taps=7, quantizer='${quantizer}', reinject=7)),
        decoder=dict(type='ViTDecoder', reads=['pixel'], width=128, depth=2, heads=4, refine_channels=16),
        head=dict(type='TrunkPool'),
        text=dict(
            type='MeanPoolText', embed_dim=128, width=128, depth=2, heads=4, weights='dtbox://siglip-tiny-twemoji', prefix='text.',
            tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json', context_length=16))),
    teacher=dict(encoder='${encoder}', layer=7),
    losses=dict(
        semantic=dict(type='SemanticLoss', weight=5.0),
        pooled=dict(type='PooledLoss', weight=1.0),
        quantizers=dict(type='QuantizerLoss', weight=5.0),
        pixels=dict(type='L2Loss', weight=5.0),
        perceptual=dict(type='FeaturePerceptualLoss', layers=[1, 2], weight=1.0)),
    discriminator=dict(type='PatchDiscriminator', width=32),
    # in so short a run the discriminator learns faster than the decoder: late, gentle, and never stronger than the reconstruction
    adversarial=dict(type='AdversarialLoss', start=540, weight=0.1, adaptive=(0.0, 1.0), against=('l2', 'feature_perceptual')))

train_dataloader = dict(dataset=dict(twemoji=dict(pipeline=[
    dict(type='EmojiAugment', size='${image_size}', plain=0.6), dict(type='PackImage')])))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    frechet=dict(type='FrechetDistance'),
    token_cosine=dict(type='TokenCosine'),
    retrieval=dict(type='Retrieval'),
    zeroshot=dict(type='ZeroShot'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(
    generator=dict(optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=1e-4), freeze=['text.*'],
                   groups={'encoders.*': dict(lr_mult=0.3)}, clip_grad=dict(max_norm=1.0)),
    discriminator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}')
hooks = dict(
    log=dict(type='Log', interval=20, show=('l2', 'semantic_tokens')),
    codebook_health=dict(type='CodebookHealth', interval=20),
    checkpoint=dict(type='Checkpoint', interval=100),
    results=dict(type='Results'),
    images=dict(type='Images', interval=100))
seed = 0
tiny = dict(batch_size=4, max_iters=2, model=dict(adversarial=dict(start=1)))
