"""Flickr30k (or Flickr8k, or COCO in Karpathy's division) with five captions a picture. Set data_root=PATH; see README.md here."""
_base_ = ['./imagenet.py']

train_dataloader = dict(dataset=dict(type='Captions'))
val_dataloader = dict(dataset=dict(type='Captions', split='test'))
