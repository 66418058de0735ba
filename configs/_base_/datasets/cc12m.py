"""CC12M, LAION and other WebDataset shards: images with captions, for training and evaluation.

Set shards=PATTERN (`data/cc12m/{0000..2175}.tar`, a glob, a folder, `pipe:COMMAND`) and heldout=PATTERN. See README.md
here.
"""
shards = None
heldout = None
image_size = 256
batch_size = 64
num_workers = 4
resize = 'short_side'  # or 'squash', as SigLIP's own preprocessing has it

train_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}', last='carry',
    dataset=dict(
        type='Shards', urls='${shards}', split='train', broken='skip',
        pipeline=[dict(type='RandomResizedCrop', size='${image_size}', scale=(0.9, 1.0)), dict(type='PackImage')]))

val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(
        type='Shards', urls='${heldout}', split='heldout', broken='skip',
        pipeline=[dict(type='ResizeCrop', size='${image_size}', mode='${resize}'), dict(type='PackImage')]))
