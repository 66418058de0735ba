"""COCO 2017, validation part: each image asked for its caption, beside its five captions. See README.md here."""
_base_ = ['./pope.py']  # loader and pipeline; a data set of another type replaces the one there

val_dataloader = dict(dataset=dict(
    type='AskedCaptions', data=dict(type='CocoCaptions', data_root='${data_root}', split='val'),
    limit='${limit}', broken='${broken}', pipeline='${val_pipeline}'))
