"""Open-MAGVIT2 at 256 pixels: 16 x 16 tokens of 18 bits without a codebook; the bits adapt the decoder's norms.

Paper: Open-MAGVIT2, arXiv 2409.04410; "release" below is its published code, TencentARC/SEED-Voken,
configs/Open-MAGVIT2/gpu/imagenet_lfqgan_256_L.yaml where a value has no other source. What is not here is that of
`ibq_256.py`, with its deviations: both releases train by the same code and the same values. Encoder, quantizer and
decoder equal the release's with its weights (`dtbox convert open_magvit2`), loss and gradients of the quantizer, too.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/open_magvit2_256.py --launcher pytorch \\
        --cfg-options data_root=PATH lpips=PATH/vgg16-397923af.pth
"""
_base_ = ['./ibq_256.py']

batch_size = 32  # a GPU of 8 (release: batch_size 8 on 32 GPUs)
max_iters = 1351350  # release: max_epochs 270, each of 5,005 iterations of 256 images
# release: embed_dim, commit_weight, codebook_weight (of the entropy), sample_minimization_weight and
# batch_maximization_weight 1; temperature, floor and order of the bits from its lookup_free_quantize.py
quantizer = dict(_delete_=True, type='LFQ', dim=18, commitment_weight=0.25, entropy_weight=0.1, diversity=1.0,
                 temperature=0.01, floor=1e-5, lowest_first=True)

model = dict(tokenizer=dict(
    # release: ddconfig
    encoders=dict(cnn=dict(_delete_=True, type='MAGVIT2Encoder', channels=128, multipliers=(1, 1, 2, 2, 4), blocks=4,
                           latent_channels=18)),
    vocabularies=dict(pixel=dict(projection=dict(_delete_=True, type='NoProjection'))),
    decoder=dict(_delete_=True, type='MAGVIT2Decoder', reads=['pixel'], channels=128, multipliers=(1, 1, 2, 2, 4),
                 blocks=4)))
param_scheduler = dict(  # release: lr_drop_epoch 200 and 250, lr_drop_rate 0.1 (applied to both)
    generator=dict(milestones=[1001000, 1251250]), discriminator=dict(milestones=[1001000, 1251250]))
tiny = dict(
    _delete_=True, batch_size=2, max_iters=2, num_workers=0, amp=None, gan_start=1, image_size=64,
    model=dict(tokenizer=dict(encoders=dict(cnn=dict(channels=32, blocks=1)), decoder=dict(channels=32, blocks=1))))
