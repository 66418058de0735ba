"""VILA-U's tokenizer: one residual quantizer on a deep layer feeds the decoder and the text-aligned head.

Paper: VILA-U, arXiv 2409.04429.
Faithful: the quantizer works on the raw layer output, at its width and without projections; its features go back to the
trunk, whose last block and pool read them; contrastive and reconstruction loss on one set of codes; encoder from its
text-aligned start, text tower frozen.
Deviations: 64 x 64 pixels, 64 tokens of 4 codes; decoder, perceptual features
and discriminator of `dualtoken_rq.py`, so that the two compare. The paper's losses at the end of the trunk are not
public; the sigmoid loss is the encoder's own. `vila_u_distill.py` has DualToken's instead.
Command: python tools/train.py configs/vila_u.py
Two busy CPU cores, 3 minutes, 1.5 GB: PSNR 21.54 dB, SSIM 0.706, token cosine 0.895, 93.8 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./_base_/unified.py']

quantizer = dict(type='RQ', size=1024, dim=128, depth=4)  # at the width of the trunk
model = dict(
    tokenizer=dict(vocabularies=dict(
        unified=dict(taps=7, quantizer='${quantizer}', projection=dict(type='NoProjection'), reinject=7))),
    losses=dict(contrastive=dict(type='SigmoidContrastiveLoss', weight=1.0)))
