"""TiTok-BL-64 of one stage: a ViT-B encoder, 64 tokens of 8,192 codes, a ViT-L decoder, 256 pixels.

Papers: TiTok, arXiv 2406.07550; one stage and 8,192 codes of width 64: TA-TiTok, arXiv 2501.07730. "The release" below
is bytedance/1d-tokenizer: configs/infer/titok_bl64_vq8k.yaml for the model, and for its training, of which there is no
file, configs/training/TA-TiTok/tatitok_bl64_vq.yaml, which has the same encoder, quantizer and losses. Published rFID
on ImageNet: 2.06.
Deviations: no ConvNeXt-S beside LPIPS; LeCam regularization of each logit instead of their mean; DualToken's PatchGAN;
random parts of 90 to 100 % of an image instead of random crops of a fixed scale; rows of the codebook move once a step,
after the optimizer; weight decay of embeddings, too. Encoder, quantizer and decoder equal the release's with its
weights (`dtbox convert titok`).

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/titok_bl64.py --launcher pytorch \\
        --cfg-options data_root=PATH lpips=PATH/vgg16-397923af.pth
"""
_base_ = ['../_base_/datasets/imagenet.py']

lpips = 'download'
image_size = 256  # release: crop_size
batch_size = 32  # a GPU (release: per_gpu_batch_size)
num_workers = 12  # release: num_workers_per_gpu
gan_start = 200000  # release: discriminator_start
max_iters = 650000  # release: max_train_steps
train_pipeline = [dict(type='RandomResizedCrop', size='${image_size}'), dict(type='RandomFlip'),  # release: random_flip
                  dict(type='PackImage')]
quantizer = dict(type='VQ', size=8192, dim=64, codebook=dict(  # release: codebook_size, token_size, use_l2_norm false
    type='ClusteringCodebook'))  # release: clustering_vq

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk=dict(  # release: vit_enc_model_size base, vit_enc_patch_size, num_latent_tokens
            type='LatentViT', latents=64, patch_size=16, width=768, depth=12, heads=12, recompute=True)),
        # release: ln_post, conv_out 1 x 1; the decoder reads rows of the codebook
        vocabularies=dict(pixel=dict(taps='norm', quantizer='${quantizer}', out_dim=64,
                                     projection=dict(type='LinearProjection', norm=False),
                                     post_projection=dict(type='NoProjection'))),
        decoder=dict(  # release: vit_dec_model_size large, vit_dec_patch_size
            type='MaskTokenDecoder', reads=['pixel'], patch_size=16, width=1024, depth=24, heads=16, recompute=True)),
    losses=dict(
        # release: commitment_cost 0.25 x commitment + codebook, which is 4 x here
        quantizers=dict(type='QuantizerLoss', weight=0.25),
        pixels=dict(type='L2Loss', weight=0.25),  # release: reconstruction_weight 1.0 of images in [0, 1]
        # release: perceptual_weight 1.1 x (1.0 LPIPS + 0.1 ConvNeXt-S) / 1.1
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),
    gan='${gan}')
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=128),  # release: hidden_channels of NLayerDiscriminator
    adversarial=dict(  # release: hinge, discriminator_weight 0.1, not adaptive; lecam_regularization_weight
        type='AdversarialLoss', kind='hinge', start='${gan_start}', weight=0.1, adaptive=None, lecam=0.001))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(  # release: learning_rate, discriminator_learning_rate, beta1, beta2, weight_decay, max_grad_norm
    generator=dict(optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4),
                   clip_grad=dict(max_norm=1.0)),
    discriminator=dict(optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4),
                       clip_grad=dict(max_norm=1.0)))
param_scheduler = dict(
    # release: warmup_steps, end_lr 1e-5
    generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=10000, floor=0.1, zero=True),
    # ours: the rest of the run
    discriminator=dict(type='WarmupCosineLR', total=450000, warmup=10000, floor=0.1, zero=True))
train_cfg = dict(max_iters='${max_iters}', val_interval=50000, tolerate=10)  # ours: intervals
amp = 'bfloat16'  # ours; release: fp16
ema = dict(decay=0.999)  # release: use_ema, its EMAModel
hooks = dict(  # ours: intervals
    log=dict(type='Log', interval=100, show=('l2',)),
    codebook_health=dict(type='CodebookHealth', interval=100),
    checkpoint=dict(type='Checkpoint', interval=5000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=10000))
seed = 42  # release: seed
tiny = dict(
    batch_size=2, max_iters=2, num_workers=0, amp=None, gan_start=1, image_size=64, quantizer=dict(size=32),
    gan=dict(discriminator=dict(width=32)),
    model=dict(tokenizer=dict(encoders=dict(trunk=dict(latents=8, width=64, depth=2, heads=2)),
                              decoder=dict(width=64, depth=2, heads=2))))
