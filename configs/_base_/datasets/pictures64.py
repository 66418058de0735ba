"""Images of 64 x 64 pixels: the embedded Twemoji pairs, or the photographs in `data_root`.

Set data_root=PATH (`--cfg-options data_root=PATH`) to train and evaluate on your own folder.
"""
data_root = None
image_size = 64
batch_size = 64
group_near_duplicates = None  # True: images of data_root that look nearly the same are on one side of the split
heldout_limit = None  # evaluate at most so many held-out images
tiny = dict(heldout_limit=64)

train_dataloader = dict(
    batch_size='${batch_size}',
    dataset=dict(
        type='EmojiOrFolder', data_root='${data_root}', split='train',
        twemoji=dict(type='Twemoji', pipeline=[dict(type='EmojiAugment', size='${image_size}'),
                                               dict(type='PackImage')]),
        folder=dict(type='ImageFolder', group_near_duplicates='${group_near_duplicates}',
                    pipeline=[dict(type='RandomResizedCrop', size='${image_size}'), dict(type='PackImage')])))

val_dataloader = dict(
    batch_size='${batch_size}',
    dataset=dict(
        type='EmojiOrFolder', data_root='${data_root}', split='heldout', limit='${heldout_limit}',
        twemoji=dict(type='Twemoji', pipeline=[dict(type='EmojiPlace', size='${image_size}'), dict(type='PackImage')]),
        folder=dict(type='ImageFolder', group_near_duplicates='${group_near_duplicates}',
                    pipeline=[dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')])))
