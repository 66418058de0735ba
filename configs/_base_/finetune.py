"""What fine-tuning shares: the tokenizer of another run, images, a short schedule.

`run` is a run folder, converted weights, a folder of `save_pretrained`, or a packaged model. Its config gives the
tokenizer, so that any architecture works, and `load_from` its weights; iterations and optimizers begin anew.
"""
_base_ = ['./datasets/pictures64.py']

run = 'dtbox://dualtoken-twemoji'
load_from = '${run}'
image_size = '${run:model.tokenizer.image_size}'
batch_size = 32
max_iters = 400
lr = 3e-4
gan = None  # `gan='${run:model.gan}' gan.adversarial.start=0` takes that of the run, with its weights where it has them
model = dict(type='TokenizerTask', tokenizer='${run:model.tokenizer}', gan='${gan}')

optim_wrapper = dict(
    generator=dict(optimizer=dict(type='AdamW', lr='${lr}', betas=(0.9, 0.95), weight_decay=1e-4),
                   clip_grad=dict(max_norm=1.0)),
    discriminator=dict(optimizer=dict(type='Adam', lr=1e-4, betas=(0.5, 0.9))))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}')
val_evaluator = dict(psnr=dict(type='PSNR'), ssim=dict(type='SSIM'), l1=dict(type='L1'),
                     code_usage=dict(type='CodeUsage'))
hooks = dict(
    log=dict(type='Log', interval=20),
    checkpoint=dict(type='Checkpoint', interval=100),
    results=dict(type='Results'),
    images=dict(type='Images', interval=100))
seed = 0
tiny = dict(batch_size=4, max_iters=2)
