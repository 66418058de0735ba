"""DualToken on Twemoji as the grids train it: no GAN, 320 iterations of 16 images on one thread.

The discriminator would come in for the last tenth of the main job; in so short a run it adds noise to PSNR and tells
the variants apart no better.
"""
_base_ = ['../../dualtoken_rq.py']

batch_size = 16
max_iters = 320
threads = 1
gan = None
val_dataloader = dict(batch_size=64)
hooks = dict(checkpoint=dict(interval=80), images=dict(interval=0))
