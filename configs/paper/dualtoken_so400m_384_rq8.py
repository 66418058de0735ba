"""DualToken at the size of its paper: SigLIP 2 So400m/14, 384 pixels, 729 tokens of 8 + 8 codes of 16,384 (stage 1).

Paper: DualToken, arXiv 2503.14324, and its published code of 2026-04 ("the release" below).

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/dualtoken_so400m_384_rq8.py --launcher pytorch \\
        --cfg-options siglip=PATH/siglip2-so400m-patch14-384 lpips=PATH/vgg16-397923af.pth \\
        'shards=PATH/cc12m/{0000..2175}.tar' heldout=PATH/heldout.tar

Published: rFID 0.25, PSNR 28.69 dB, SSIM 0.744, zero-shot on ImageNet 82.0 %. Built, described and stepped at a small
size here; never trained: that takes GPUs. `python tools/describe.py configs/paper/dualtoken_so400m_384_rq8.py` counts
parameters, FLOPs, memory and days.

Deviations from the release: codebooks are updated once a step from every depth's own residual (`official=True` with a
variant brings back its own rule, whose semantic statistics come from the wrong residuals); an epoch holds every sample
once (the release draws shards anew); the adaptive weight is global, not per rank; codes and statistics stay in float32
under autocast; decoder blocks are recomputed in the backward pass, too.
"""
_base_ = ['../_base_/datasets/cc12m.py']

siglip = 'hub'  # or the local folder of google/siglip2-so400m-patch14-384
lpips = 'download'  # or torchvision's vgg16-397923af.pth
image_size = 384  # paper
batch_size = 32  # a GPU, of 8: 256 in all (release: --batch-size 32)
num_workers = 8  # ours
gan_start = 19532  # half an epoch (release)
max_iters = 781260  # 20 epochs of 39,063 steps: 10 M samples each (release)

# release: encoder blocks checkpointed
encoder = dict(type='SigLIP', name='google/siglip2-so400m-patch14-384', weights='${siglip}', recompute=True)
quantizer = dict(type='RQ', size=16384, dim=32, depth=8,  # release: vq_pix, vq_sem: n_embed, embed_dim, code_shape
                 codebook=dict(type='EMACodebook', decay=0.99, restart=1.0))  # release: decay, restart_unused_codes

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk='${encoder}'),
        vocabularies=dict(
            # release: layer_recon 6, layer_shortcut 4, weight_shortcut 0.6
            pixel=dict(taps={6: 1.0, 4: 0.6}, quantizer='${quantizer}'),
            semantic=dict(taps=26, quantizer='${quantizer}', reinject=26)),  # release: layer_sem 26 of 27
        decoder=dict(type='CNNDecoder', reads=['pixel'], channels=128, multipliers=(1, 1, 4, 4, 8), blocks=2,
                     latent_channels=1024,
                     # release: ddconfig, decoder_latent_shape
                     attention_resolutions=(24,), latent_size=(24, 24), recompute=True),
        head=dict(type='TrunkPool')),
    teacher=dict(encoder='${encoder}', layer=26),  # paper, section 3; release: hidden_states[-2]
    losses=dict(
        semantic=dict(type='SemanticLoss', weight=5.0),  # release: 5 Ssem + Spool + 5 Lq + 5 Lrec + Lp
        pooled=dict(type='PooledLoss', weight=1.0),
        quantizers=dict(type='QuantizerLoss', weight=5.0),
        pixels=dict(type='L2Loss', weight=5.0),
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),
    gan='${gan}')
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=64),  # release: 64 filters
    # release: unused in the first half epoch; 0.75 on the generator's term always, on the discriminator's after the
    # first epoch;
    # adaptive weight in 0.3..10
    adversarial=dict(
        type='AdversarialLoss', kind='leaky_hinge', start='${gan_start}', weight=0.75, adaptive=(0.3, 10.0),
        against=('l2', 'lpips'), discriminator_weight=1.0, later=(39063, 0.75)))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    token_cosine=dict(type='TokenCosine'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(
    # release: no decay on vectors
    generator=dict(optimizer=dict(type='AdamW', lr=7.2e-5, betas=(0.5, 0.9), eps=1e-8, weight_decay=1e-4)),
    discriminator=dict(optimizer=dict(type='Adam', lr=7.2e-5, betas=(0.5, 0.9))))  # release: the model's rate
param_scheduler = dict(
    generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=10000),  # release
    # release: from 0 over half an epoch, then a cosine to 4e-5; counted in the discriminator's own steps
    discriminator=dict(type='WarmupCosineLR', total=781260, warmup=19532, floor=4e-5 / 7.2e-5, zero=True))
train_cfg = dict(max_iters='${max_iters}', val_interval=39063, tolerate=10)  # ours: once an epoch
amp = 'bfloat16'  # release: amp_bf16
hooks = dict(  # ours: intervals
    log=dict(type='Log', interval=100, show=('l2', 'semantic_tokens')),
    codebook_health=dict(type='CodebookHealth', interval=100),
    discriminator_health=dict(type='DiscriminatorHealth', interval=100),
    checkpoint=dict(type='Checkpoint', interval=2000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=10000))
seed = 0  # release
tiny = dict(
    siglip=None, encoder=dict(vision=dict(hidden_size=64, intermediate_size=96, num_attention_heads=4)),
    batch_size=2, max_iters=2, num_workers=0, amp=None, gan_start=1, image_size=112, quantizer=dict(size=32, depth=2),
    model=dict(tokenizer=dict(decoder=dict(latent_size=(7, 7), channels=32, latent_channels=32, blocks=1))))
