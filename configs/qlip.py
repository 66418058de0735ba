"""QLIP: binary spherical quantization with a contrastive and a reconstruction loss: 32 bits a token, without a table.

Paper: QLIP, arXiv 2502.05178; BSQ, arXiv 2406.07548.
Faithful: a ViT from its text-aligned start, BSQ with its entropy term, contrastive and reconstruction loss on one set
of codes.
Deviations: 64 x 64 pixels; the last block and the pool read the quantized tokens, as in the other recipes here, so that
what is measured is what the tokens carry; fixed weights instead of the paper's balance by gradient norms, one stage
instead of two; text tower frozen; decoder, perceptual features and discriminator of `dualtoken_rq.py`.
Command: python tools/train.py configs/qlip.py
Two busy CPU cores, 8 minutes, 1.5 GB: PSNR 19.99 dB, SSIM 0.639, token cosine 0.490, 89.7 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./_base_/unified.py']

quantizer = dict(type='BSQ', dim=32)
model = dict(
    tokenizer=dict(vocabularies=dict(unified=dict(taps=7, quantizer='${quantizer}', reinject=7))),
    losses=dict(quantizers=dict(weight=1.0), contrastive=dict(type='SoftmaxContrastiveLoss', weight=1.0)))
