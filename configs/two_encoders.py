"""Two encoders side by side: VQGAN's CNN for pixels, the text-aligned ViT for semantics, nothing shared.

Each has a vocabulary of its own, with the quantizers, losses and weights of `dualtoken_rq.py`: what one encoder with
two vocabularies has to be measured against.

Papers: VQGAN, arXiv 2012.09841 (pixel encoder); SigLIP, arXiv 2303.15343 (semantic encoder); DualToken, arXiv
2503.14324 (losses).
Command: python tools/train.py configs/two_encoders.py
Two busy CPU cores, 6 minutes, 1.7 GB: PSNR 20.08 dB, SSIM 0.621, token cosine 0.984, 97.7 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./dualtoken_rq.py']

model = dict(tokenizer=dict(
    encoders=dict(cnn=dict(
        type='CNNEncoder', channels=32, multipliers=(1, 2, 4), blocks=1, latent_channels=128, attention_resolutions=(8,
        ), stem=2)),
    vocabularies=dict(
        pixel=dict(taps='cnn:4', projection=dict(type='LinearProjection', norm=False)),
        semantic=dict(taps='trunk:7'))))
