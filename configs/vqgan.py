"""VQGAN: a CNN encoder, one code of 1,024 per token, a CNN decoder; reconstruction alone, at the end with a discriminator.

Paper: VQGAN, arXiv 2012.09841.
Faithful: encoder (but for the stride of its first convolution), codebook behind plain 1 x 1 convolutions, adaptive GAN weight.
Deviations: 64 x 64 pixels; a light decoder; features of the small frozen encoder instead of LPIPS; a codebook that follows by moving averages.
Command: python tools/train.py configs/vqgan.py
Two busy CPU cores, 3 minutes, 1.4 GB: PSNR 20.52 dB, SSIM 0.644.
"""
_base_ = ['./_base_/datasets/pictures64.py']

batch_size = 32
max_iters = 600
quantizer = dict(type='VQ', size=1024, dim=32, codebook=dict(type='EMACodebook', start=dict(type='KMeansStart')))
convolution = dict(type='LinearProjection', norm=False)

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(cnn=dict(type='CNNEncoder', channels=32, multipliers=(1, 2, 4), blocks=1, latent_channels=128, attention_resolutions=(8,),
                               stem=2)),
        vocabularies=dict(pixel=dict(taps=4, quantizer='${quantizer}', projection='${convolution}')),
        decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=128, blocks=2)),
    # frozen: what the perceptual loss and the Frechet distance see with
    teacher=dict(layer=7, encoder=dict(
        type='TimmViT', name='vit_base_patch16_siglip_224',
        model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=8, act_layer='gelu_tanh'),
        weights='dtbox://siglip-tiny-twemoji', prefix='encoders.trunk.trunk.')),
    losses=dict(
        quantizers=dict(type='QuantizerLoss', weight=1.0),
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
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(
    generator=dict(optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=1e-4), clip_grad=dict(max_norm=1.0)),
    discriminator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}')
hooks = dict(
    log=dict(type='Log', interval=20, show=('l2',)),
    codebook_health=dict(type='CodebookHealth', interval=20),
    checkpoint=dict(type='Checkpoint', interval=100),
    results=dict(type='Results'),
    images=dict(type='Images', interval=100))
seed = 0
tiny = dict(batch_size=4, max_iters=2, model=dict(adversarial=dict(start=1)))
