"""Semantics alone: the text-aligned encoder, a residual quantizer on its last layer but one, distilled from its frozen self; no decoder.

The semantic half of `dualtoken_rq.py`, with the same settings: what that half costs and gives without a pixel vocabulary beside it.

Paper: DualToken, arXiv 2503.14324 (losses), SigLIP, arXiv 2303.15343 (encoder).
Command: python tools/train.py configs/siglip_rq.py
Two busy CPU cores, 3 minutes, 1.4 GB: token cosine 0.984, 98.9 % of the teacher's R@1 on `variants` kept.
"""
_base_ = ['./dualtoken_rq.py']

model = dict(
    tokenizer=dict(vocabularies=dict(_delete_=True, semantic=dict(taps=7, quantizer='${quantizer}', reinject=7)), decoder=None),
    losses=dict(pixels=None, perceptual=None), discriminator=None, adversarial=None)

val_evaluator = [dict(type='TokenCosine'), dict(type='Retrieval'), dict(type='ZeroShot'), dict(type='CodeUsage')]
optim_wrapper = dict(discriminator=None)
hooks = [dict(type='Log', interval=20, show=('semantic_tokens',)), dict(type='CodebookHealth', interval=20),
         dict(type='Checkpoint', interval=100), dict(type='Results'), dict(type='Images', interval=0)]
tiny = dict(_delete_=True, batch_size=4, max_iters=2)
