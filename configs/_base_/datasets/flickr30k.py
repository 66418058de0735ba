"""Flickr30k (or Flickr8k, or COCO in Karpathy's division) with five captions a picture. Set data_root=PATH; see README.md here."""
data_root = None
image_size = 256
batch_size = 64
num_workers = 4
resize = 'short_side'  # or 'squash', as SigLIP's own preprocessing has it

train_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}', last='carry',
    dataset=dict(
        type='Captions', data_root='${data_root}', split='train',
        pipeline=[dict(type='RandomResizedCrop', size='${image_size}', scale=(0.9, 1.0)), dict(type='PackImage')]))

val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(
        type='Captions', data_root='${data_root}', split='test', broken='skip',
        pipeline=[dict(type='ResizeCrop', size='${image_size}', mode='${resize}'), dict(type='PackImage')]))
