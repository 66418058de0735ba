"""COCO 2017 captions, about five a picture: 118,287 training and 5,000 validation pictures. Set data_root=PATH; see README.md here."""
_base_ = ['./imagenet.py']

train_dataloader = dict(dataset=dict(type='CocoCaptions'))
val_dataloader = dict(dataset=dict(type='CocoCaptions'))
