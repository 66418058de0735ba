"""LVIS v1: COCO's pictures with masks of 1,203 categories, rare, common and frequent; for evaluation. Set data_root=PATH; see README.md here."""
data_root = None
image_size = 256
batch_size = 32
num_workers = 4
resize = 'short_side'  # cuts off what lies beyond the central square; 'squash' keeps all objects

val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(
        type='LVIS', data_root='${data_root}', split='val', broken='skip',
        pipeline=[dict(type='ResizeCrop', size='${image_size}', mode='${resize}'), dict(type='PackImage')]))
