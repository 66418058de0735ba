"""Semantics alone: the text-aligned encoder, a residual quantizer on its last layer but one, distilled from its frozen self; no decoder.

The semantic half of `dualtoken_rq.py`, with the same settings: what that half costs and gives without a pixel vocabulary beside it.

Paper: DualToken, arXiv 2503.14324 (losses), SigLIP, arXiv 2303.15343 (encoder).
Command: python tools/train.py configs/siglip_rq.py
Two busy CPU cores, 3 minutes, 1.4 GB: token cosine 0.984, 98.9 % of the teacher's R@1 on `variants` kept.
"""
_base_ = ['./dualtoken_rq.py']

model = dict(
    tokenizer=dict(vocabularies=dict(pixel=None), decoder=None),
    losses=dict(pixels=None, perceptual=None), discriminator=None, adversarial=None)

val_evaluator = dict(psnr=None, ssim=None, l1=None, frechet=None)
optim_wrapper = dict(discriminator=None)
hooks = dict(log=dict(show=('semantic_tokens',)), images=dict(interval=0))
