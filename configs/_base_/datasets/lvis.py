"""LVIS v1: COCO's images with masks of 1,203 categories, for evaluation. See README.md here."""
_base_ = ['./coco_objects.py']

val_dataloader = dict(dataset=dict(
    type='LVIS', data_root='${data_root}', split='val', broken='skip', pipeline='${val_pipeline}'))
