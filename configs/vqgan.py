"""VQGAN: a CNN encoder, one code of 1,024 a token, a CNN decoder; reconstruction alone, at the end with a GAN.

Paper: VQGAN, arXiv 2012.09841.
Faithful: encoder (but for the stride of its first convolution), codebook after plain 1 x 1 convolutions, adaptive GAN
weight.
Deviations: 64 x 64 pixels; a light decoder; features of the small frozen encoder instead of LPIPS; a codebook that
follows by moving averages.
Command: python tools/train.py configs/vqgan.py
Two busy CPU cores, 3 minutes, 1.4 GB: PSNR 20.52 dB, SSIM 0.644.
"""
_base_ = ['./_base_/siglip_tiny.py', './_base_/pixels.py', './_base_/training.py']

quantizer = dict(type='VQ', size=1024, dim=32, codebook=dict(type='EMACodebook', start=dict(type='KMeansStart')))
convolution = dict(type='LinearProjection', norm=False)

model = dict(
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(cnn=dict(
            type='CNNEncoder', channels=32, multipliers=(1, 2, 4), blocks=1, latent_channels=128,
            attention_resolutions=(8,), stem=2)),
        vocabularies=dict(pixel=dict(taps=4, quantizer='${quantizer}', projection='${convolution}')),
        decoder=dict(type='LightCNNDecoder', reads=['pixel'], width=128, blocks=2)),
    # frozen: the perceptual loss and the Frechet distance compare its features
    teacher=dict(encoder='${encoder}', layer=7),
    losses=dict(
        quantizers=dict(type='QuantizerLoss', weight=1.0),
        pixels=dict(type='L2Loss', weight=5.0),
        perceptual=dict(type='FeaturePerceptualLoss', layers=[1, 2], weight=1.0)))
