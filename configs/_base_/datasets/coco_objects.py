"""COCO 2017 with the masks of its objects, 80 categories; for evaluation. Set data_root=PATH; see README.md here."""
data_root = None
image_size = 256
batch_size = 32
num_workers = 4
resize = 'short_side'  # cuts off what lies beyond the central square; 'squash' keeps all objects

val_pipeline = [dict(type='ResizeCrop', size='${image_size}', mode='${resize}'), dict(type='PackImage')]
val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(type='CocoObjects', data_root='${data_root}', split='val', broken='skip', pipeline='${val_pipeline}'))
