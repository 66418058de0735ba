"""CIFAR-10 with texts, 32 x 32 pixels: 50,000 training and 10,000 test images of ten classes.

The data are not part of dtbox: set data_root=PATH (`--cfg-options data_root=PATH`), a folder with torchvision's
`cifar-10-batches-py` or with shards `train-*.tar` and `test-*.tar`; `download=True` beside it lets torchvision fetch
them.
"""
data_root = None
download = False
image_size = 32
batch_size = 64

train_dataloader = dict(
    batch_size='${batch_size}',
    dataset=dict(
        type='CIFAR10', data_root='${data_root}', split='train', download='${download}',
        pipeline=[dict(type='RandomResizedCrop', size='${image_size}', scale=(0.8, 1.0)), dict(type='RandomFlip'),
                  dict(type='PackImage')]))

val_dataloader = dict(
    batch_size='${batch_size}',
    dataset=dict(
        type='CIFAR10', data_root='${data_root}', split='heldout', download='${download}',
        pipeline=[dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')]))
