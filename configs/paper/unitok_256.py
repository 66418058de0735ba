"""UniTok at 256 pixels: ViTamin-L, 256 tokens of 8 codes of 4,096 directions; the text tower learns along.

Paper: UniTok, arXiv 2502.20321, and its published code of 2025-04 ("the release" below; its names are those of the
arguments in utils/config.py). Published: rFID 0.41 and zero-shot 70.8 % from scratch.
Deviations: no drop path in the decoder; projections and quantizer under autocast like the rest. Data: pairs (the paper
has DataComp-1B, 1.28 B samples). Encoder, quantizer, decoder, head and text tower equal the release's with its weights
(`dtbox convert unitok`).

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/unitok_256.py --launcher pytorch \\
        --cfg-options lpips=PATH/vgg16-397923af.pth dino=PATH/vit_small_patch14_dinov2.safetensors \\
        'shards=PATH/{00000..}.tar' heldout=PATH/heldout.tar
"""
_base_ = ['../_base_/datasets/cc12m.py']

lpips = 'download'  # release: lpips_path
dino = 'timm'  # release: dino_path; or a file of timm's names
image_size = 256  # release: img_size
batch_size = 64  # a GPU (release: local_bs)
num_workers = 8  # release: workers
gan_start = 937500  # release: disc_start_ep 0.375, on 8 GPUs
max_iters = 2500000  # release: epoch 1 of train_num_samples 1.28 B in batches of 512, on 8 GPUs
# release: vocab_size 32,768 in num_codebooks 8, vocab_width 64
quantizer = dict(type='MCQ', size=4096, dim=64, parts=8)

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk=dict(
            type='TimmViT', name='vitamin_large_256', recompute=True,  # release: model, grad_ckpt
            # release: positions removed, drop_path 0.1, no pool, `norm` in use, tanh GELU in the blocks
            model_args=dict(pos_embed='none', drop_path_rate=0.1, fc_norm=False, global_pool='',
                            act_layer='gelu_tanh'))),
        # release: quantizes after encoder.norm; quant_proj with 16 heads, full attention
        vocabularies=dict(unified=dict(taps='norm', quantizer='${quantizer}',
                                       projection=dict(type='AttentionProjection', causal=False))),
        # release: the mirror image of the encoder
        decoder=dict(type='ViTaminDecoder', reads=['unified'], depth=31, heads=16, recompute=True),
        head=dict(type='MeanPool', reads='unified', out_dim=768),  # release: mean, fc_norm, projection (embed_dim 768)
        # release: text_width, text_heads, text_layers, text_vocab_size, text_context_length; ln(1 / 0.07)
        text=dict(type='OpenCLIPText', embed_dim=768, logit_scale=2.6592600, logit_bias=0.0,
                  text_cfg=dict(context_length=77, vocab_size=49408, width=768, heads=12, layers=12),
                  tokenizer=dict(type='OpenCLIPTokenizer', context_length=77))),
    losses=dict(
        contrastive=dict(type='SoftmaxContrastiveLoss', weight=1.0),  # release: lc
        # release: lq 1 of vq_beta 0.25 x commitment + codebook; MCQ's own terms are 4 x these
        quantizers=dict(type='QuantizerLoss', weight=0.25),
        l1=dict(type='L1Loss', weight=0.2), pixels=dict(type='L2Loss', weight=1.0),  # release: l1, l2
        perceptual=dict(type='LPIPSLoss', net='vgg', weights='${lpips}', weight=1.0)),  # release: lp
    gan='${gan}')
gan = dict(
    # release: DINOv2's ViT-S/14 frozen, a head after blocks 1, 3, 6, 9, 12, crops or resizes to a multiple of 14
    discriminator=dict(type='FeatureDiscriminator', name='vit_small_patch14_dinov2', image_size=252,
                       weights='${dino}', layers=(1, 3, 6, 9, 12)),
    adversarial=dict(
        type='AdversarialLoss', kind='hinge', discriminator_weight=2.0,  # release: dcrit hg, without the factor 1/2
        start='${gan_start}', ramp=75000, weight=0.4,  # release: disc_warmup_ep 0.03, ld
        # release: 0.015 to 1e4; of l1 x L1 + l2 x L2 + lp x LPIPS, over the generator's norm + 1e-6
        adaptive=(0.015, 1e4), against=dict(l1=0.2, l2=1.0, lpips=1.0), eps=1e-6,
        # release: daug 1, fade over twice disc_warmup_ep; bcr 4, bcr_cut 0.2
        augment=dict(type='DiffAug', blur=150000), consistency=4.0, consistency_augment=dict(type='DiffAug')))
val_evaluator = dict(
    psnr=dict(type='PSNR'),
    ssim=dict(type='SSIM'),
    l1=dict(type='L1'),
    retrieval=dict(type='Retrieval'),
    code_usage=dict(type='CodeUsage'))

optim_wrapper = dict(
    # release: lr, optim_beta, optim_eps, wd, grad_clip; the bias of the sigmoid loss is not used
    generator=dict(optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.02),
                   clip_grad=dict(max_norm=10.0), freeze=['text.logit_bias']),
    # release: disc_lr, disc_optim_beta, disc_wd, grad_clip
    discriminator=dict(optimizer=dict(type='AdamW', lr=2e-5, betas=(0.5, 0.9), weight_decay=0.2),
                       clip_grad=dict(max_norm=10.0)))
param_scheduler = dict(
    # release: warmup_ep 0.01 from lr_start_ratio 0, then a cosine to lr_end_ratio 0.1
    generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.01, floor=0.1, zero=True),
    # release: disc_warmup_ep 0.03 from 0, a cosine to disc_lr_end_ratio 0.1 over the 0.625 epochs with a discriminator;
    # counted in the discriminator's own steps
    discriminator=dict(type='WarmupCosineLR', total=1562500, warmup=75000, floor=0.1, zero=True))
train_cfg = dict(max_iters='${max_iters}', val_interval=10000, tolerate=10)  # ours: intervals
amp = 'bfloat16'  # release: bf16
hooks = dict(  # ours: intervals
    log=dict(type='Log', interval=100, show=('l2', 'contrastive')),
    codebook_health=dict(type='CodebookHealth', interval=100),
    checkpoint=dict(type='Checkpoint', interval=2000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=10000))
seed = 0  # ours
tiny = dict(
    batch_size=2, max_iters=2, num_workers=0, amp=None, gan_start=1, image_size=64, quantizer=dict(size=32),
    dino='random',
    gan=dict(discriminator=dict(image_size=28, layers=(1, 2), model_args=dict(embed_dim=32, depth=2, num_heads=2))),
    model=dict(tokenizer=dict(
        encoders=dict(trunk=dict(name='vitamin_small_224', model_args=dict(drop_path_rate=0.0, depth=2))),
        decoder=dict(depth=1, heads=4, channels=(16, 8), blocks=(1, 1)),
        head=dict(out_dim=64), text=dict(embed_dim=64, text_cfg=dict(width=64, heads=4, layers=1)))))
