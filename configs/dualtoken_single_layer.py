"""DualToken without its hierarchy: both vocabularies on the same deep layer, `dualtoken_rq.py` with one line changed.

Paper: DualToken, arXiv 2503.14324 (the ablation of where the pixel codes come from).
Command: python tools/train.py configs/dualtoken_single_layer.py
Two busy CPU cores, 9 minutes, 1.6 GB: PSNR 22.54 dB, SSIM 0.749, token cosine 0.984, 99.1 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./dualtoken_rq.py']

model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(taps=7))))
