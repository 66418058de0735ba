"""Video files and folders of frames, for evaluation. Set data_root=PATH; see README.md here."""
data_root = None
image_size = 256
batch_size = 16
num_workers = 0  # frames are decoded one after the other
resize = 'short_side'

val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(
        type='Video', data_root='${data_root}', broken='skip',
        pipeline=[dict(type='ResizeCrop', size='${image_size}', mode='${resize}'), dict(type='PackImage')]))
