"""Open-MAGVIT2: bits without a codebook (LFQ), and a decoder whose norms the bits adapt.

Paper: Open-MAGVIT2, arXiv 2409.04410, after MAGVIT-v2, 2310.05737; its published code SEED-Voken ("the release").
Faithful: encoder and decoder without attention, adaptive norms, depth to space; LFQ without projections; its entropy
over all codes and its commitment with the weights of the release (0.1 at temperature 0.01, 0.25).
Deviations: 64 x 64 pixels and 8 x 8 tokens of 10 bits instead of 256 x 256 and 16 x 16 of 18; four narrow levels of one
block; L2 and features of the small frozen encoder instead of L1 and LPIPS; discriminator, its schedule and adaptive
weight are ours, those of `vqgan.py`, so that the two compare (`paper/open_magvit2_256.py` has the release's values).
Command: python tools/train.py configs/magvit2.py
"""
_base_ = ['vqgan']

quantizer = dict(type='LFQ', dim=10, commitment_weight=0.25, entropy_weight=0.1, temperature=0.01, floor=1e-5,
                 lowest_first=True)

model = dict(tokenizer=dict(
    encoders=dict(cnn=dict(type='MAGVIT2Encoder', latent_channels=10, channels=32, multipliers=(1, 1, 2, 2), blocks=1)),
    vocabularies=dict(pixel=dict(taps=5, projection=dict(type='NoProjection'))),
    decoder=dict(type='MAGVIT2Decoder', reads=['pixel'], channels=32, multipliers=(1, 1, 2, 2), blocks=1)))
