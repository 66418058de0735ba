"""DualToken on CIFAR-10 as the grids train it: `dualtoken_cifar10.py`, 320 iterations of 16 images on one thread."""
_base_ = ['../../dualtoken_cifar10.py']

batch_size = 16
max_iters = 320
threads = 1
val_dataloader = dict(batch_size=64)
hooks = dict(checkpoint=dict(interval=80), images=dict(interval=0))
