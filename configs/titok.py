"""TiTok: an image as 64 tokens without a place: latent tokens ask the patches, mask tokens ask them back; one stage.

Paper: TiTok, arXiv 2406.07550, in one stage as in TA-TiTok, arXiv 2501.07730.
Faithful: encoder, decoder and quantizer, whose parts give the release's outputs with its weights (`dtbox convert
titok`).
Deviations: 64 x 64 pixels in 64 patches, small transformers; the codebook starts from data; features of the small
frozen encoder instead of LPIPS and ConvNeXt.
32 tokens: --cfg-options latents=32
Command: python tools/train.py configs/titok.py
"""
_base_ = ['./_base_/siglip_tiny.py', './_base_/pixels.py', './_base_/training.py']

latents = 64
quantizer = dict(type='VQ', size=1024, dim=16, codebook=dict(
    type='ClusteringCodebook', start=dict(type='KMeansStart')))

model = dict(
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk=dict(type='LatentViT', latents='${latents}', patch_size=8, width=128, depth=4, heads=4)),
        vocabularies=dict(pixel=dict(taps='norm', quantizer='${quantizer}', out_dim=16,
                                     projection=dict(type='LinearProjection', norm=False),
                                     post_projection=dict(type='NoProjection'))),
        decoder=dict(type='MaskTokenDecoder', reads=['pixel'], patch_size=8, width=128, depth=4, heads=4)),
    # frozen: the perceptual loss and the Frechet distance compare its features
    teacher=dict(encoder='${encoder}', layer=7),
    losses=dict(
        quantizers=dict(type='QuantizerLoss', weight=0.25),  # 0.25 x commitment + codebook
        pixels=dict(type='L2Loss', weight=5.0),
        perceptual=dict(type='FeaturePerceptualLoss', layers=[1, 2], weight=1.0)))
