"""VQGAN at its published size: 256 pixels, 16 x 16 tokens, one codebook of 1,024 (f16, ImageNet).

Paper: VQGAN, arXiv 2012.09841; architecture as in taming-transformers' vqgan_imagenet_f16_1024 (attention at 16, 256
channels of code), optimizer and weights quoted from memory of that file. Deviation: the discriminator is DualToken's
PatchGAN.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/vqgan_f16.py --launcher pytorch \\
        --cfg-options data_root=PATH lpips=PATH/vgg16-397923af.pth
"""
_base_ = ['../_base_/datasets/imagenet.py']

lpips = 'download'
image_size = 256
batch_size = 12
num_workers = 8
gan_start = 250001
max_iters = 520000
quantizer = dict(type='VQ', size=1024, dim=256, codebook=dict(
    type='GradientCodebook', weight=0.25))  # taming's VectorQuantizer2, legacy=True: commitment 1, codebook beta = 0.25

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(cnn=dict(type='CNNEncoder', channels=128, multipliers=(1, 1, 2, 2, 4), blocks=2,
                               latent_channels=256, attention_resolutions=(16,))),
        # quant_conv
        vocabularies=dict(pixel=dict(taps=6, quantizer='${quantizer}',
                                     projection=dict(type='LinearProjection', norm=False),
                                     post_projection=dict(type='NoProjection'))),
        decoder=dict(type='CNNDecoder', reads=['pixel'], channels=128, multipliers=(1, 1, 2, 2, 4), blocks=2,
                     latent_channels=256, attention_resolutions=(16,), post_quant=False)),  # post_quant_conv: 1 x 1
    losses=dict(
        quantizers=dict(type='QuantizerLoss', weight=1.0),
        pixels=dict(type='L1Loss', weight=1.0),
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),
    gan='${gan}')
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=64),
    adversarial=dict(
        type='AdversarialLoss', kind='hinge', start='${gan_start}', weight=0.8, adaptive=(0.0, 1e4),
        against=('l1', 'lpips')))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(  # 4.5e-6 for each image of a batch of 96
    generator=dict(optimizer=dict(type='Adam', lr=4.32e-4, betas=(0.5, 0.9))),
    discriminator=dict(optimizer=dict(type='Adam', lr=4.32e-4, betas=(0.5, 0.9))))
train_cfg = dict(max_iters='${max_iters}', val_interval=50000, tolerate=10)
hooks = dict(
    log=dict(type='Log', interval=100, show=('l1',)),
    codebook_health=dict(type='CodebookHealth', interval=100),
    checkpoint=dict(type='Checkpoint', interval=5000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=10000))
seed = 0
tiny = dict(
    batch_size=2, max_iters=2, num_workers=0, gan_start=1, image_size=64, quantizer=dict(size=32),
    model=dict(tokenizer=dict(encoders=dict(cnn=dict(channels=32)), decoder=dict(channels=32))))
