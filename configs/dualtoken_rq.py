"""DualToken: one ViT, two vocabularies: pixel codes from a shallow layer, semantic codes from a deep one.

Pixel codes feed the decoder. Semantic codes replace the trunk's tokens, so that what follows (the last block, the
pool, zero-shot and retrieval) reads tokens alone.

Its teacher knows emoji only: for photographs take `dualtoken_photos.py`.

Paper: DualToken, arXiv 2503.14324 (stage 1, scaled to 64 x 64 pixels and two CPU cores).
Command: python tools/train.py configs/dualtoken_rq.py
Two CPU cores, 4 to 6 minutes, 1.5 GB: PSNR 22.83 dB, SSIM 0.760, token cosine 0.984, 97.7 % of the teacher's R@1 on
`variants` kept.
"""
_base_ = ['./_base_/pixels.py', './_base_/text_aligned.py', './_base_/training.py']

# both vocabularies: 4 codes a token, each of 1,024, found one after the other on what the ones before leave over
quantizer = dict(type='RQ', size=1024, dim=16, depth=4)

model = dict(
    tokenizer=dict(
        vocabularies=dict(
            # pixels: layer 2, with layer 1 added at 0.6 ("shortcut"): shallow layers still know colours and edges
            pixel=dict(taps={2: 1.0, 1: 0.6}, quantizer='${quantizer}'),
            # semantics: layer 7 of 8; the quantized tokens take the place of the trunk's, so that block 8 and the pool
            # read codes
            semantic=dict(taps=7, quantizer='${quantizer}', reinject=7)),
        # images come from pixel codes alone
        decoder=dict(type='ViTDecoder', reads=['pixel'], width=128, depth=2, heads=4, refine_channels=16)),
    losses=dict(
        semantic=dict(type='SemanticLoss', weight=5.0),  # semantic tokens towards the frozen teacher's layer 7
        pooled=dict(type='PooledLoss', weight=1.0),  # and the image embedding towards the teacher's
        quantizers=dict(type='QuantizerLoss', weight=5.0),  # commitment of both vocabularies
        pixels=dict(type='L2Loss', weight=5.0),
        # in the frozen teacher's first layers
        perceptual=dict(type='FeaturePerceptualLoss', layers=[1, 2], weight=1.0)))

hooks = dict(log=dict(show=('l2', 'semantic_tokens')))
