"""Flickr8k: 8,000 photographs with five captions each, as published or as Kaggle has it. See README.md here."""
_base_ = ['./flickr30k.py']

holdout = 0.125  # tested of Kaggle's copy, which has no lists; the published lists have 1,000 of 8,000
train_dataloader = dict(dataset=dict(holdout='${holdout}'))
val_dataloader = dict(dataset=dict(holdout='${holdout}'))
