"""COCO 2017 captions, about five an image: 118,287 training and 5,000 validation images. See README.md here."""
_base_ = ['./imagenet.py']  # batch sizes and pipelines; a data set of another type replaces the one there

train_dataloader = dict(dataset=dict(
    type='CocoCaptions', data_root='${data_root}', split='train', pipeline='${train_pipeline}'))
val_dataloader = dict(dataset=dict(
    type='CocoCaptions', data_root='${data_root}', split='val', broken='skip', pipeline='${val_pipeline}'))
