"""QLIP: binary spherical quantization of the last tokens, beside a contrastive loss: 28 bits a token, without a table.

The embedding of an image is the trunk's, before quantization: it is not a function of the codes. Codes and embedding
share the trunk, and its two losses, alone; R@1 and zero-shot scores say what the trunk keeps, not what codes carry.
`unified` codes of other recipes are re-injected and pooled; compare with `vila_u.py` and `unitok.py` by PSNR alone.

Paper: QLIP, arXiv 2502.05178; BSQ, arXiv 2406.07548.
Faithful: a ViT from its text-aligned start; tokens after the last block, without a norm; an MLP to 28 bits and one
back; BSQ with the entropies of groups of 7 bits; contrastive and reconstruction loss on one trunk.
Deviations: 64 x 64 pixels, a trunk with an attention pool instead of EVA-02's class token; fixed weights instead of the
paper's balance by gradient norms, one stage instead of two; text tower frozen; decoder, perceptual features and
discriminator of `dualtoken_rq.py`.
Command: python tools/train.py configs/qlip.py
"""
_base_ = ['./_base_/unified.py']

quantizer = dict(type='BSQ', dim=28, group=7, entropy_weight=0.01)
model = dict(
    tokenizer=dict(vocabularies=dict(unified=dict(
        taps=8, quantizer='${quantizer}', projection=dict(type='MLPProjection', norm=False)))),
    losses=dict(quantizers=dict(weight=1.0), contrastive=dict(type='SoftmaxContrastiveLoss', weight=1.0)))
val_evaluator = dict(token_cosine=None)  # the features are the decoder's alone, and no teacher has such
