"""DualToken's stage 2 at 384 pixels: semantics again, with the pixel path frozen, from the weights of stage 1.

Paper: DualToken, arXiv 2503.14324. The published code of 2026-04 cannot run this stage (it asks for attributes by names
that are gone); here it runs as it reads: cosine to the teacher's tokens, 5 x the pooled loss, 5 x the semantic
commitment. Pixel vocabulary and decoder are not run, so that their codebook stands still, which the release meant and
does not do.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/dualtoken_so400m_384_rq8_stage2.py --launcher pytorch \\
        --cfg-options load_from=work_dirs/stage1/checkpoint.pth siglip=PATH/siglip2-so400m-patch14-384 \\
        'shards=PATH/cc12m/{0000..2175}.tar' heldout=PATH/heldout.tar
"""
_base_ = ['./dualtoken_so400m_384_rq8.py']

load_from = None
model = dict(  # release: -cos + 5 Spool + 5 x the semantic commitment, of stage 1's terms
    losses=dict(semantic=dict(mse=0.0, weight=1.0), pooled=dict(weight=5.0),
                quantizers=dict(vocabularies=['semantic']), pixels=None, perceptual=None))
gan = None
optim_wrapper = dict(
    generator=dict(freeze=['encoders.trunk.trunk.patch_embed.*', 'encoders.trunk.trunk.pos_embed',
                           'encoders.trunk.trunk.blocks.[0-3].*',
                           # release: embeddings, blocks 1 to 4, pixel projections, decoder
                           'vocabularies.pixel.*', 'decoder.*']),)
hooks = dict(log=dict(show=('semantic_tokens', 'semantic_pooled')))
