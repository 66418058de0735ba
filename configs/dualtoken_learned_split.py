"""DualToken that finds its layers itself: both vocabularies read the same five layers, by weights that are learned.

`dualtoken_rq.py` with the taps changed: a softmax over the layers for each vocabulary (`learn=True`) instead of layers
chosen by hand.

Paper: DualToken, arXiv 2503.14324; the learned split is no part of it.
Command: python tools/train.py configs/dualtoken_learned_split.py
Two busy CPU cores, 5 minutes, 1.7 GB: PSNR 23.00 dB, SSIM 0.765, token cosine 0.984, 98.2 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./dualtoken_rq.py']

model = dict(tokenizer=dict(vocabularies=dict(
    pixel=dict(taps=[1, 2, 3, 5, 7], learn=True),
    semantic=dict(taps=[1, 2, 3, 5, 7], learn=True))))

# ten numbers that have a long way to go: at the common rate they would hardly leave their start in so short a run
optim_wrapper = dict(generator=dict(groups={'vocabularies.*.tap_logits': dict(lr_mult=10)}))
