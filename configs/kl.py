"""The autoencoder of latent diffusion: `vqgan.py` with Gaussian latents of the same width in the place of codes.

What codes cost: the same encoder, decoder and losses without quantization, a ceiling for `vqgan.py`. After training,
`dtbox.apis.latents.measure_latents` sets the statistics that normalise latents for a diffusion model.

Paper: latent diffusion, arXiv 2112.10752.
Faithful: mean and log variance of each channel, a sample in training and the mean in evaluation, the weight of the KL
term, adaptive GAN weight.
Deviations: 64 x 64 pixels, and those of `vqgan.py`; latents of 32 channels instead of 4 to 64; normalised by mean and
variance of each channel, where the release divides by one standard deviation.
Command: python tools/train.py configs/kl.py
"""
_base_ = ['vqgan']

quantizer = dict(type='KL', dim=32, statistics='channel')
model = dict(losses=dict(quantizers=dict(weight=1e-6)))

# there are no codes to count
val_evaluator = dict(code_usage=None)
hooks = dict(codebook_health=None)
