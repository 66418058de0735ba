"""Held-out Twemoji, each asked for its name. See README.md here."""
_base_ = ['./asked_coco.py']

split = 'variants'
num_workers = 0

val_pipeline = [dict(type='EmojiPlace', size='${image_size}'), dict(type='PackImage')]
val_dataloader = dict(dataset=dict(data=dict(_delete_=True, type='Twemoji', split='${split}')))
