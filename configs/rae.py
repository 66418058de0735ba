"""RAE: a decoder for the features of a frozen text-aligned encoder, not quantized: a ceiling for semantic codes.

Paper: RAE, arXiv 2510.11690.
Faithful: the encoder is frozen; the decoder reads its tokens after the last norm; in training they get noise of a
random level; fixed positions and a trained class token in the decoder; reconstruction, perceptual and adversarial loss.
Deviations: 64 x 64 pixels, an encoder of width 128; its last norm keeps weight and bias; L2 instead of L1 pixels,
features of the same frozen encoder instead of LPIPS, a patch discriminator on pixels instead of DINO's features.
Command: python tools/train.py configs/rae.py
"""
_base_ = ['./_base_/siglip_tiny.py', './_base_/pixels.py', './_base_/training.py']

quantizer = dict(type='NoQuantizer', dim=128, noise=0.8, statistics='position')

model = dict(
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk='${encoder}'),
        vocabularies=dict(latent=dict(taps='norm', quantizer='${quantizer}', projection=dict(type='NoProjection'))),
        decoder=dict(type='RAEDecoder', reads=['latent'], width=128, depth=4, heads=4, hidden=512)),
    teacher=dict(encoder='${encoder}', layer=7),  # the perceptual loss and the Frechet distance compare its features
    losses=dict(
        pixels=dict(type='L2Loss', weight=5.0),
        perceptual=dict(type='FeaturePerceptualLoss', layers=[1, 2], weight=1.0)))
optim_wrapper = dict(generator=dict(freeze=['encoders.*']))

# there are no codes to count
val_evaluator = dict(code_usage=None)
hooks = dict(codebook_health=None)
