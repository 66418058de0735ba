"""VILA-U's tokenizer with DualToken's distillation: one vocabulary against two, all else equal.

The controlled variant of `vila_u.py`: one residual quantizer on the raw last layer but one feeds decoder and trunk,
while the losses and their weights are those of `dualtoken_rq.py`.

Paper: VILA-U, arXiv 2409.04429; losses of DualToken, arXiv 2503.14324.
Command: python tools/train.py configs/vila_u_distill.py
Two busy CPU cores, 4 minutes, 1.6 GB: PSNR 20.98 dB, SSIM 0.679, token cosine 0.982, 97.7 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./dualtoken_rq.py']

quantizer = dict(dim=128)  # at the width of the trunk
model = dict(
    tokenizer=dict(
        vocabularies=dict(
            pixel=None, semantic=None,
            unified=dict(taps=7, quantizer='${quantizer}', projection=dict(type='NoProjection'), reinject=7)),
        decoder=dict(reads=['unified'])),
    losses=dict(semantic=dict(vocabulary='unified')))
val_evaluator = dict(token_cosine=dict(vocabulary='unified'))
