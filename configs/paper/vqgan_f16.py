"""VQGAN at its published size: 256 pixels, 16 x 16 tokens, one codebook of 1,024 (f16, ImageNet).

Paper: VQGAN, arXiv 2012.09841; "taming" below is taming-transformers, its configs/imagenet_vqgan.yaml where a value has
no other source. Deviation: the discriminator is DualToken's PatchGAN.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/vqgan_f16.py --launcher pytorch \\
        --cfg-options data_root=PATH lpips=PATH/vgg16-397923af.pth
"""
_base_ = ['../_base_/datasets/imagenet.py']

lpips = 'download'
image_size = 256  # taming: resolution
batch_size = 12  # a GPU (ours; taming: 3 or 12, by the version of the file)
num_workers = 8  # taming
gan_start = 250001  # taming: disc_start
max_iters = 520000  # ours: 39 epochs
quantizer = dict(type='VQ', size=1024, dim=256, codebook=dict(  # taming: n_embed, embed_dim
    type='GradientCodebook', weight=0.25))  # taming's VectorQuantizer2, legacy=True: commitment 1, codebook beta = 0.25

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        # taming: ddconfig
        encoders=dict(cnn=dict(type='CNNEncoder', channels=128, multipliers=(1, 1, 2, 2, 4), blocks=2,
                               latent_channels=256, attention_resolutions=(16,))),
        # taming: quant_conv after encoder.conv_out, layer 6 here
        vocabularies=dict(pixel=dict(taps=6, quantizer='${quantizer}',
                                     projection=dict(type='LinearProjection', norm=False),
                                     post_projection=dict(type='NoProjection'))),
        # taming: ddconfig, post_quant_conv 1 x 1
        decoder=dict(type='CNNDecoder', reads=['pixel'], channels=128, multipliers=(1, 1, 2, 2, 4), blocks=2,
                     latent_channels=256, attention_resolutions=(16,), post_quant=False)),
    losses=dict(  # taming: codebook_weight, |x - y|, perceptual_weight of VQLPIPSWithDiscriminator
        quantizers=dict(type='QuantizerLoss', weight=1.0),
        pixels=dict(type='L1Loss', weight=1.0),
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),
    gan='${gan}')
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=64),  # ours; taming: NLayerDiscriminator of 64
    # taming: disc_weight; adaptive weight in 0..1e4, of L1 + LPIPS
    adversarial=dict(
        type='AdversarialLoss', kind='hinge', start='${gan_start}', weight=0.8, adaptive=(0.0, 1e4),
        against=('l1', 'lpips')))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(  # taming: base_learning_rate 4.5e-6 for each image of a batch, here of 96; Adam of VQModel
    generator=dict(optimizer=dict(type='Adam', lr=4.32e-4, betas=(0.5, 0.9))),
    discriminator=dict(optimizer=dict(type='Adam', lr=4.32e-4, betas=(0.5, 0.9))))
train_cfg = dict(max_iters='${max_iters}', val_interval=50000, tolerate=10)  # ours: intervals
hooks = dict(  # ours: intervals
    log=dict(type='Log', interval=100, show=('l1',)),
    codebook_health=dict(type='CodebookHealth', interval=100),
    checkpoint=dict(type='Checkpoint', interval=5000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=10000))
seed = 0  # ours
tiny = dict(
    batch_size=2, max_iters=2, num_workers=0, gan_start=1, image_size=64, quantizer=dict(size=32),
    model=dict(tokenizer=dict(encoders=dict(cnn=dict(channels=32)), decoder=dict(channels=32))))
