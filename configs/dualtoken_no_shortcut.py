"""DualToken without the shortcut: pixel codes from layer 2 alone, `dualtoken_rq.py` with one line changed.

Paper: DualToken, arXiv 2503.14324 (`layer_shortcut` of its published configs left out).
Command: python tools/train.py configs/dualtoken_no_shortcut.py
Two busy CPU cores, 7 minutes, 1.6 GB: PSNR 22.73 dB, SSIM 0.758, token cosine 0.984, 98.4 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./dualtoken_rq.py']

model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(taps=2))))
