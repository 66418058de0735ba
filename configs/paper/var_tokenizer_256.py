"""VAR's tokenizer at its published size: 256 pixels, 680 tokens on 10 scales of up to 16 x 16, one codebook of 4,096.

Paper: VAR, arXiv 2404.02905; "the release" below is its repository (models/vqvae.py and quant.py; the names are
those of arguments). The training of the tokenizer is not released: where the paper does not say a value either, it is
that of `vqgan_f16`, which is taming-transformers' or ours. With the release's weights (`dtbox convert var`) codes and
reconstructions equal its own. Deviations: the discriminator is DualToken's PatchGAN; ImageNet instead of OpenImages.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/var_tokenizer_256.py --launcher pytorch \\
        --cfg-options data_root=PATH lpips=PATH/vgg16-397923af.pth
"""
_base_ = ['./vqgan_f16.py']

quantizer = dict(
    # release: v_patch_nums, share_quant_resi, quant_resi
    type='MultiScaleRQ', scales=[1, 2, 3, 4, 5, 6, 8, 10, 13, 16], convs=4, strength=0.5,
    # release: vocab_size, z_channels; the terms are commitment + 4 codebook, 0.25 of which is the release's loss
    quantizer=dict(type='VQ', size=4096, dim=32, codebook=dict(type='GradientCodebook', weight=4.0)))
model = dict(
    tokenizer=dict(
        encoders=dict(cnn=dict(channels=160, latent_channels=32)),  # release: ch, z_channels
        vocabularies=dict(pixel=dict(  # release: quant_conv_ks
            projection=dict(type='ConvProjection', kernel=3), post_projection=dict(type='ConvProjection', kernel=3))),
        decoder=dict(channels=160, latent_channels=32, post_quant=None)),  # release: ch, z_channels
    losses=dict(
        quantizers=dict(weight=0.25),  # release: beta
        pixels=dict(type='L2Loss', weight=1.0),  # paper: equation 5
        perceptual=dict(weight=1.0)))  # taming: perceptual_weight
gan = dict(adversarial=dict(against=('l2', 'lpips')))
hooks = dict(log=dict(show=('l2',)))
tiny = dict(quantizer=dict(_delete_=True, type='MultiScaleRQ', scales=[1, 2, 3, 4],
                           quantizer=dict(type='VQ', size=32, dim=32, codebook=dict(type='GradientCodebook'))))
