"""DualToken's second published size: SigLIP 2 So400m/16, 256 pixels, 256 tokens of 4 + 4 codes of 16,384 (stage 1).

Paper: DualToken, arXiv 2503.14324, and its published code of 2026-04 (siglip_256_rvq4). All else as in
`dualtoken_so400m_384_rq8.py`.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/dualtoken_so400m_256_rq4.py --launcher pytorch \\
        --cfg-options siglip=PATH/siglip2-so400m-patch16-256 lpips=PATH/vgg16-397923af.pth \\
        'shards=PATH/cc12m/{0000..2175}.tar' heldout=PATH/heldout.tar
"""
_base_ = ['./dualtoken_so400m_384_rq8.py']

image_size = 256  # release: the model's name
encoder = dict(name='google/siglip2-so400m-patch16-256')
quantizer = dict(depth=4)  # release: code_shape
# release: decoder_latent_shape 16 x 16, the grid itself
model = dict(tokenizer=dict(decoder=dict(attention_resolutions=(16,), latent_size=None)))
