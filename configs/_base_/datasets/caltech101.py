"""Caltech-101: 8,677 photographs of 101 kinds of objects, as published, packed or not. See README.md here.

30 images of a class are for training and at most 50 others for testing, as papers have it; `training=none` divides
all of them, a fifth for testing.
"""
data_root = None
image_size = 128
batch_size = 64
training = 30

train_dataloader = dict(
    batch_size='${batch_size}',
    dataset=dict(
        type='Caltech101', data_root='${data_root}', split='train', training='${training}',
        pipeline=[dict(type='RandomResizedCrop', size='${image_size}', scale=(0.7, 1.0)), dict(type='RandomFlip'),
                  dict(type='PackImage')]))

val_dataloader = dict(
    batch_size='${batch_size}',
    dataset=dict(
        type='Caltech101', data_root='${data_root}', split='test', training='${training}', broken='skip',
        pipeline=[dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')]))
