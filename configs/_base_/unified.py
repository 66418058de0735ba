"""What recipes with one vocabulary for both aims share: DualToken's decoder and losses of pixels."""
_base_ = ['./pixels.py', './text_aligned.py', './training.py']

model = dict(
    tokenizer=dict(decoder=dict(type='ViTDecoder', reads=['unified'], width=128, depth=2, heads=4, refine_channels=16)),
    losses=dict(
        quantizers=dict(type='QuantizerLoss', weight=5.0),
        pixels=dict(type='L2Loss', weight=5.0),
        perceptual=dict(type='FeaturePerceptualLoss', layers=[1, 2], weight=1.0)))

val_evaluator = dict(token_cosine=dict(vocabulary='unified'))
hooks = dict(log=dict(show=('l2', 'contrastive')))
