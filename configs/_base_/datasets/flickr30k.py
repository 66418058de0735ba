"""Flickr30k (or Flickr8k, or COCO in Karpathy's division) with five captions an image. See README.md here."""
_base_ = ['./imagenet.py']  # batch sizes and pipelines; a data set of another type replaces the one there

train_dataloader = dict(dataset=dict(
    type='Captions', data_root='${data_root}', split='train', pipeline='${train_pipeline}'))
val_dataloader = dict(dataset=dict(
    type='Captions', data_root='${data_root}', split='test', broken='skip', pipeline='${val_pipeline}'))
