"""Open-MAGVIT2 at 256 pixels: 16 x 16 tokens of 18 bits without a codebook; the bits adapt the decoder's norms.

Paper: Open-MAGVIT2, arXiv 2409.04410; "release" below is its published code, TencentARC/SEED-Voken,
configs/Open-MAGVIT2/gpu/imagenet_lfqgan_256_L.yaml where a value has no other source. Deviations: DualToken's PatchGAN
instead of NLayerDiscriminator; the generator's term is - mean of the logits instead of the non-saturating softplus, and
LeCam's regulariser (0.05) is left out; the average of the weights warms up. Encoder, quantizer and decoder equal the
release's with its weights (`dtbox convert open_magvit2`), loss and gradients of the quantizer, too.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/open_magvit2_256.py --launcher pytorch \\
        --cfg-options data_root=PATH lpips=PATH/vgg16-397923af.pth
"""
_base_ = ['../_base_/datasets/imagenet.py']

lpips = 'download'
image_size = 256  # release: size of the data
batch_size = 32  # a GPU of 8 (release: batch_size 8 on 32 GPUs)
num_workers = 16  # release
gan_start = 0  # release: disc_start
max_iters = 1351350  # release: max_epochs 270, each of 5,005 iterations of 256 images
# release: embed_dim, commit_weight, codebook_weight (of the entropy), sample_minimization_weight and
# batch_maximization_weight 1; temperature, floor and order of the bits from its lookup_free_quantize.py
quantizer = dict(type='LFQ', dim=18, commitment_weight=0.25, entropy_weight=0.1, diversity=1.0, temperature=0.01,
                 floor=1e-5, lowest_first=True)

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        # release: ddconfig
        encoders=dict(cnn=dict(type='MAGVIT2Encoder', channels=128, multipliers=(1, 1, 2, 2, 4), blocks=4,
                               latent_channels=18)),
        vocabularies=dict(pixel=dict(taps=6, quantizer='${quantizer}', projection=dict(type='NoProjection'))),
        decoder=dict(type='MAGVIT2Decoder', reads=['pixel'], channels=128, multipliers=(1, 1, 2, 2, 4), blocks=4)),
    losses=dict(  # release: |x - y| and LPIPS of VQLPIPSWithDiscriminator at their default 1
        quantizers=dict(type='QuantizerLoss', weight=1.0),
        pixels=dict(type='L1Loss', weight=1.0),
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),
    gan='${gan}')
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=64),  # ours, see above
    # release: gen_loss_weight, constant: disc_weight is not read then; hinge of the discriminator
    adversarial=dict(type='AdversarialLoss', kind='hinge', start='${gan_start}', weight=0.1, adaptive=None))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(  # release: learning_rate, betas of configure_optimizers
    generator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))),
    discriminator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))))
param_scheduler = dict(  # release: lr_drop_epoch 200 and 250, lr_drop_rate 0.1 (applied to both)
    generator=dict(type='MultiStepLR', milestones=[1001000, 1251250], gamma=0.1, by_epoch=False),
    discriminator=dict(type='MultiStepLR', milestones=[1001000, 1251250], gamma=0.1, by_epoch=False))
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
    batch_size=2, max_iters=2, num_workers=0, amp=None, gan_start=1, image_size=64,
    model=dict(tokenizer=dict(encoders=dict(cnn=dict(channels=32, blocks=1)), decoder=dict(channels=32, blocks=1))))
