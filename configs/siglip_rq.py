"""Semantics alone: the text-aligned encoder and a residual quantizer, distilled from its frozen self; no decoder.

The semantic half of `dualtoken_rq.py`, with the same settings: what that half costs and gives without a pixel
vocabulary beside it.

Paper: DualToken, arXiv 2503.14324 (losses), SigLIP, arXiv 2303.15343 (encoder).
Command: python tools/train.py configs/siglip_rq.py
Two busy CPU cores, 3 minutes, 1.4 GB: token cosine 0.984, 98.9 % of the teacher's R@1 on `variants` kept.
"""
_base_ = ['./_base_/text_aligned.py', './_base_/training.py']

quantizer = dict(type='RQ', size=1024, dim=16, depth=4)
model = dict(
    tokenizer=dict(vocabularies=dict(semantic=dict(taps=7, quantizer='${quantizer}', reinject=7))),
    losses=dict(
        semantic=dict(type='SemanticLoss', weight=5.0),
        pooled=dict(type='PooledLoss', weight=1.0),
        quantizers=dict(type='QuantizerLoss', weight=5.0)))
hooks = dict(log=dict(show=('semantic_tokens',)), images=dict(interval=0))
