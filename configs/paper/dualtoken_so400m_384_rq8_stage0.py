"""DualToken's stage 0 at 384 pixels: the trunk frozen up to the semantic layer, everything after it learns.

Paper: DualToken, arXiv 2503.14324; loss and frozen parts as in its published code of 2026-04, rates and length from
older scripts of that repository.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/dualtoken_so400m_384_rq8_stage0.py --launcher pytorch \\
        --cfg-options siglip=PATH/siglip2-so400m-patch14-384 lpips=PATH/vgg16-397923af.pth \\
        'shards=PATH/cc12m/{0000..2175}.tar' heldout=PATH/heldout.tar
"""
_base_ = ['./dualtoken_so400m_384_rq8.py']

max_iters = 390630  # 10 epochs (older scripts)
model = dict(
    # the 26 frozen blocks run once, in bfloat16 for the teacher, too, and are in memory once
    teacher=dict(trunk_sharing=True),
    losses=dict(semantic=None, pooled=dict(weight=5.0)))  # release: 5 Spool + 5 Lq + 5 Lrec + Lp, no GAN
gan = None
optim_wrapper = dict(
    generator=dict(
        optimizer=dict(lr=1e-4, betas=(0.9, 0.98)),  # older scripts
        freeze=['encoders.trunk.trunk.patch_embed.*', 'encoders.trunk.trunk.pos_embed',
                'encoders.trunk.trunk.blocks.[0-9].*',
                # release: embeddings and blocks 1 to 26
                'encoders.trunk.trunk.blocks.1[0-9].*', 'encoders.trunk.trunk.blocks.2[0-5].*']))
param_scheduler = dict(generator=dict(warmup=100000))  # older scripts
hooks = dict(log=dict(show=('l2', 'semantic_pooled')))
tiny = dict(model=dict(teacher=dict(trunk_sharing='auto')))  # random weights: student and teacher differ
