"""How the embedded recipes train: 600 iterations of 32 emoji at 64 x 64 pixels, a few minutes on two CPU cores."""
_base_ = ['./datasets/pictures64.py']

batch_size = 32
max_iters = 600
train_dataloader = dict(dataset=dict(twemoji=dict(pipeline=[
    dict(type='EmojiAugment', size='${image_size}', plain=0.6), dict(type='PackImage')])))

optim_wrapper = dict(generator=dict(
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=1e-4), clip_grad=dict(max_norm=1.0)))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}')

val_evaluator = dict(code_usage=dict(type='CodeUsage'))
hooks = dict(
    log=dict(type='Log', interval=20, show=('l2',)),  # `show`: terms on the screen
    codebook_health=dict(type='CodebookHealth', interval=20),
    checkpoint=dict(type='Checkpoint', interval=100),
    results=dict(type='Results'),
    images=dict(type='Images', interval=100))
seed = 0
tiny = dict(batch_size=4, max_iters=2)  # `--tiny`: small values with which the recipe runs in seconds
