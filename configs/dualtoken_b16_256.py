"""DualToken for one GPU: SigLIP 2 B/16, 256 pixels, 256 tokens of 4 + 4 codes of 16,384.

Paper: DualToken, arXiv 2503.14324; "release" is its published code of 2026-04, whose 256-pixel size is
`paper/dualtoken_so400m_256_rq4.py`. What is ours is scaled from it to 12 layers and to one GPU.

Command: python tools/train.py configs/dualtoken_b16_256.py --cfg-options data_root=PATH siglip=hub
    ImageNet: --data imagenet --cfg-options data_root=PATH; shards: --data cc12m --cfg-options shards=... heldout=...
    another encoder: encoder="dict(type='TimmViT', name='vit_base_patch16_siglip_256.v2_webli', weights='timm')"
Batch and recomputation for a card, time and memory: dtbox describe dualtoken_b16_256 --memory 24 --tflops 165
Scores: python tools/test.py RUN --protocol reconstruction codes rfid_clean_256

Never trained: what `describe` prints is predicted, not measured on a GPU.
"""
_base_ = ['./paper/dualtoken_so400m_256_rq4.py', './_base_/datasets/pictures64.py']

image_size = 256  # release
batch_size = 64  # ours; release: 256 on 8 GPUs
accumulative_counts = 1  # batches of an update; ours
recompute = False  # ours; release: encoder blocks checkpointed
max_iters = 100000  # ours: 6.4 M images, 5 epochs of ImageNet
gan_start = 10000  # ours
lr = 3.6e-5  # ours: release's 7.2e-5 times the square root of 64 / 256 (Malladi et al., arXiv 2205.10287)
encoder = dict(name='google/siglip2-base-patch16-256', recompute='${recompute}')
model = dict(
    tokenizer=dict(
        vocabularies=dict(
            pixel=dict(taps={3: 1.0, 2: 0.6}),  # ours: release's 6 and 4 of 27 layers, in proportion; 0.6: release
            semantic=dict(taps=11, reinject=11)),  # release: the last layer but one
        # VQGAN's f16 (arXiv 2012.09841), a tenth of the release's decoder
        decoder=dict(multipliers=(1, 1, 2, 2, 4), latent_channels=256, recompute='${recompute}')),
    teacher=dict(layer=11))
gan = dict(adversarial=dict(later=None, discriminator_weight=0.75))  # release: that from the second epoch on
optim_wrapper = dict(
    generator=dict(optimizer=dict(lr='${lr}'), accumulative_counts='${accumulative_counts}'),
    discriminator=dict(optimizer=dict(lr='${lr}'), accumulative_counts='${accumulative_counts}'))
param_scheduler = dict(  # ours: fractions of the run
    generator=dict(warmup=0.02), discriminator=dict(total='${max_iters}', warmup=0.02, floor=0.0, zero=False))
train_cfg = dict(val_interval=10000)  # ours
tiny = dict(heldout_limit=4, max_iters=2, model=dict(losses=dict(perceptual=None)),
            gan=dict(adversarial=dict(against=('l2',))))
