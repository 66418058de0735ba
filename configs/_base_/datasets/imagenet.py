"""ImageNet-1k, 1,281,167 training and 50,000 validation images of 1,000 classes. See README.md here."""
data_root = None
image_size = 256
batch_size = 64
num_workers = 4
resize = 'short_side'  # or 'squash', as SigLIP's own preprocessing has it

train_pipeline = [dict(type='RandomResizedCrop', size='${image_size}', scale=(0.9, 1.0)), dict(type='PackImage')]
val_pipeline = [dict(type='ResizeCrop', size='${image_size}', mode='${resize}'), dict(type='PackImage')]

train_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}', last='carry',
    dataset=dict(type='ImageNet', data_root='${data_root}', split='train', pipeline='${train_pipeline}'))

val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(type='ImageNet', data_root='${data_root}', split='val', broken='skip', pipeline='${val_pipeline}'))
