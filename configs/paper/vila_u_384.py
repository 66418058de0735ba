"""VILA-U's tokenizer at 384 pixels: SigLIP So400m/14, 729 tokens of 16 codes of 16,384 for pixels and semantics.

Paper: VILA-U, arXiv 2409.04429 (K 16,384, depth 16, contrastive and reconstruction weights of 1, text tower frozen,
SigLIP as the start: quoted from memory), and its published vision tower ("the release"). Its training code is not
published: optimizer, schedule and discriminator are ours, that is DualToken's. Published: rFID 1.25, zero-shot 78.0 %.
Tap, decoder and codebook as in its published tower: the raw output of the last block but one, no projections, a 1 x 1
convolution before the decoder. Data: pairs (the paper has COYO-700M).

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/vila_u_384.py --launcher pytorch \\
        --cfg-options siglip=PATH/siglip-so400m-patch14-384 lpips=PATH/vgg16-397923af.pth \\
        'shards=PATH/{00000..}.tar' heldout=PATH/heldout.tar
"""
_base_ = ['./dualtoken_so400m_384_rq8.py']

encoder = dict(name='google/siglip-so400m-patch14-384')
quantizer = dict(dim=1152, depth=16)  # paper: the width of the trunk, depth 16 at 384 pixels
model = dict(
    tokenizer=dict(
        vocabularies=dict(
            pixel=None, semantic=None,
            # release: the raw output of block 26 of 27, no projections
            unified=dict(taps=26, quantizer='${quantizer}', projection=dict(type='NoProjection'), reinject=26)),
        decoder=dict(reads=['unified'], post_quant=False),  # release: a plain 1 x 1 convolution
        text=dict(type='SigLIPText', name='google/siglip-so400m-patch14-384', weights='${siglip}')),
    # paper: weights of 1 for the contrastive loss and for all of reconstruction
    losses=dict(semantic=None, pooled=None, contrastive=dict(type='SigmoidContrastiveLoss', weight=1.0),
                quantizers=dict(weight=1.0), pixels=dict(weight=1.0)))
optim_wrapper = dict(generator=dict(freeze=['text.tower.*']))
val_evaluator = dict(token_cosine=dict(vocabulary='unified'), retrieval=dict(type='Retrieval'))
tiny = dict(
    quantizer=dict(dim=64), model=dict(tokenizer=dict(text=dict(
        tokenizer=dict(type='OpenCLIPTokenizer', context_length=64),
        text=dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_hidden_layers=1,
                  vocab_size=49408)))))
