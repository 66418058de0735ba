"""IBQ at 256 pixels: VQGAN's network with 4 blocks a level, 16 x 16 tokens of 16,384 codes that all get gradients.

Paper: IBQ, arXiv 2412.02692; "release" below is its published code, TencentARC/SEED-Voken,
configs/IBQ/gpu/imagenet_ibqgan_16384.yaml where a value has no other source. Deviations: DualToken's PatchGAN instead
of NLayerDiscriminator; the generator's term is - mean of the logits instead of the softplus of their mean; the average
of the weights warms up. Encoder, quantizer and decoder equal the release's
with its weights (`dtbox convert ibq`), loss and gradients of the quantizer, too.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/ibq_256.py --launcher pytorch \\
        --cfg-options data_root=PATH lpips=PATH/vgg16-397923af.pth
"""
_base_ = ['../_base_/datasets/imagenet.py']

lpips = 'download'
image_size = 256  # release: resolution
batch_size = 32  # a GPU of 8 (release: batch_size 4 on 64 GPUs)
num_workers = 16  # release
gan_start = 0  # release: disc_start
max_iters = 1651650  # release: max_epochs 330, each of 5,005 iterations of 256 images
# release: n_embed, embed_dim, beta, entropy_loss_weight, entropy_temperature; the rest from its quantize.py
quantizer = dict(type='IBQ', size=16384, dim=256, codebook_weight=0.25, entropy_weight=0.05, temperature=0.01,
                 floor=1e-5)

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        # release: ddconfig
        encoders=dict(cnn=dict(type='CNNEncoder', channels=128, multipliers=(1, 1, 2, 2, 4), blocks=4,
                               latent_channels=256, attention_resolutions=(16,))),
        # release: quant_conv and post_quant_conv, 1 x 1
        vocabularies=dict(pixel=dict(taps=6, quantizer='${quantizer}',
                                     projection=dict(type='LinearProjection', norm=False))),
        # release: ddconfig
        decoder=dict(type='CNNDecoder', reads=['pixel'], channels=128, multipliers=(1, 1, 2, 2, 4), blocks=4,
                     latent_channels=256, attention_resolutions=(16,), post_quant=None)),
    losses=dict(  # release: quant_loss_weight, |x - y| and LPIPS of VQLPIPSWithDiscriminator at their default 1
        quantizers=dict(type='QuantizerLoss', weight=1.0),
        pixels=dict(type='L1Loss', weight=1.0),
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),
    gan='${gan}')
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=64),  # ours, see above
    # release: gen_loss_weight, constant: disc_weight is not read then; hinge of the discriminator; lecam_loss_weight
    adversarial=dict(type='AdversarialLoss', kind='hinge', start='${gan_start}', weight=0.1, adaptive=None, lecam=0.05))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(  # release: learning_rate, betas of configure_optimizers
    generator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))),
    discriminator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))))
param_scheduler = dict(  # release: lr_drop_epoch 250 and 300, lr_drop_rate 0.1, of both
    generator=dict(type='MultiStepLR', milestones=[1251250, 1501500], gamma=0.1, by_epoch=False),
    discriminator=dict(type='MultiStepLR', milestones=[1251250, 1501500], gamma=0.1, by_epoch=False))
ema = dict(decay=0.999)  # release: use_ema; from its ema.py, whose decay is constant
amp = 'bfloat16'  # release: 16-mixed on GPUs, bf16-mixed on NPUs
train_cfg = dict(max_iters='${max_iters}', val_interval=50000, tolerate=10)  # ours: intervals
hooks = dict(  # ours: intervals
    log=dict(type='Log', interval=100, show=('l1',)),
    codebook_health=dict(type='CodebookHealth', interval=100),
    checkpoint=dict(type='Checkpoint', interval=5000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=10000))
seed = 0  # ours
tiny = dict(
    batch_size=2, max_iters=2, num_workers=0, amp=None, gan_start=1, image_size=64, quantizer=dict(size=32),
    model=dict(tokenizer=dict(encoders=dict(cnn=dict(channels=32, blocks=1)), decoder=dict(channels=32, blocks=1))))
