"""UniTok at 256 pixels: ViTamin-L, 256 tokens of 8 codes of 4,096 directions; the text tower learns along.

Paper: UniTok, arXiv 2502.20321, and its published code. Published: rFID 0.41 and zero-shot 70.8 % from scratch.
Deviations: a ViT decoder of the same width and depth with DualToken's refinement in place of ViTamin's mirror image;
PatchGAN with a hinge instead of the discriminator on DINOv2 features, without DiffAug and consistency; no entropy term
(its weight is 0 by default). Data: pairs (the paper has DataComp-1B, 1.28 B samples).

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/unitok_256.py --launcher pytorch \\
        --cfg-options lpips=PATH/vgg16-397923af.pth 'shards=PATH/{00000..}.tar' heldout=PATH/heldout.tar
"""
_base_ = ['../_base_/datasets/cc12m.py']

lpips = 'download'
image_size = 256
batch_size = 64  # a GPU (release: local batch 64)
num_workers = 8
gan_start = 937500  # 0.375 epochs (release), on 8 GPUs
max_iters = 2500000  # one epoch of 1.28 B samples in batches of 512, on 8 GPUs
quantizer = dict(type='MCQ', size=4096, dim=64, parts=8)  # release: 32,768 codes in 8 books, 64 channels

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk=dict(type='TimmViT', name='vitamin_large_256', recompute=True,
                                 # release: positions removed, drop path 0.1
                                 model_args=dict(pos_embed='none', drop_path_rate=0.1))),
        vocabularies=dict(unified=dict(taps=31, quantizer='${quantizer}',
                                       # release: 16 heads, full attention
                                       projection=dict(type='AttentionProjection', causal=False))),
        decoder=dict(type='ViTDecoder', reads=['unified'], width=1024, depth=31, heads=16, refine_channels=128),
        head=dict(type='MeanPool', reads='unified', out_dim=768),  # release: mean, LayerNorm, linear 1024 -> 768
        text=dict(type='OpenCLIPText', embed_dim=768, logit_scale=2.6592600, logit_bias=0.0,  # release: ln(1 / 0.07)
                  text_cfg=dict(context_length=77, vocab_size=49408, width=768, heads=12, layers=12),
                  tokenizer=dict(type='OpenCLIPTokenizer', context_length=77))),
    losses=dict(
        contrastive=dict(type='SoftmaxContrastiveLoss', weight=1.0),
        quantizers=dict(type='QuantizerLoss', weight=1.0),
        l1=dict(type='L1Loss', weight=0.2), pixels=dict(type='L2Loss', weight=1.0),
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),
    gan='${gan}')
gan = dict(
    discriminator=dict(type='PatchDiscriminator', width=64),
    adversarial=dict(
        type='AdversarialLoss', kind='hinge', start='${gan_start}', ramp=75000, weight=0.4,  # release: ramp 0.03 epochs
        adaptive=(0.015, 1e4), against=('l2', 'lpips')))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    retrieval=dict(type='Retrieval'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(
    # release: lr 5e-4, weight decay 0.02, clip 10; ViTamin's own norm and the sigmoid loss's bias are not used
    generator=dict(optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.02),
                   clip_grad=dict(max_norm=10.0), freeze=['encoders.trunk.trunk.fc_norm.*', 'text.logit_bias']),
    discriminator=dict(optimizer=dict(type='AdamW', lr=2e-5, betas=(0.5, 0.9), weight_decay=0.2),
                       clip_grad=dict(max_norm=10.0)))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.01, floor=0.1))  # release
train_cfg = dict(max_iters='${max_iters}', val_interval=10000, tolerate=10)
amp = 'bfloat16'
hooks = dict(
    log=dict(type='Log', interval=100, show=('l2', 'contrastive')),
    codebook_health=dict(type='CodebookHealth', interval=100),
    checkpoint=dict(type='Checkpoint', interval=2000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=10000))
seed = 0
tiny = dict(
    batch_size=2, max_iters=2, num_workers=0, amp=None, gan_start=1, image_size=64, quantizer=dict(size=32),
    model=dict(tokenizer=dict(
        encoders=dict(trunk=dict(name='vitamin_small_224', model_args=dict(drop_path_rate=0.0, depth=2))),
        vocabularies=dict(unified=dict(taps=2)), decoder=dict(width=64, depth=1, heads=4, refine_channels=16),
        head=dict(out_dim=64), text=dict(embed_dim=64, text_cfg=dict(width=64, heads=4, layers=1)))))
