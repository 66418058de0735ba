"""The text-aligned encoder of the CIFAR-10 recipes: `siglip-tiny-twemoji` trained on, on images of 32 x 32 pixels.

The sigmoid loss with "a photo of a CLASS" trains the image tower, from the start that emoji gave it (its patches made
half as wide); the text tower, which knows the ten words as names of emoji, stays as it is.

Papers: SigLIP, arXiv 2303.15343 (loss); LiT, arXiv 2111.07991 (one tower frozen); FlexiViT, arXiv 2212.08013 (patches
of another size).
Command: python tools/train.py configs/siglip_tiny_cifar10.py --cfg-options data_root=PATH
One of two busy CPU cores, 20,000 training images, 48 minutes: zero-shot top-1 55.8 % of 5,000 test images.
"""
_base_ = ['./_base_/datasets/cifar10.py']

batch_size = 32
max_iters = 3000
start = 'dtbox://siglip-tiny-twemoji'

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk=dict(
            type='TimmViT', name='vit_base_patch16_siglip_224',
            model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=4, act_layer='gelu_tanh'),
            weights='${start}', prefix='encoders.trunk.trunk.', resample=True)),
        head=dict(type='TrunkPool'),
        text=dict(
            type='MeanPoolText', embed_dim=128, width=128, depth=2, heads=4, weights='${start}', prefix='text.',
            tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json',
                           context_length=16))),
    # many texts of a batch are equal: each is a pair of every image of its class
    losses=dict(contrastive=dict(type='SigmoidContrastiveLoss', weight=1.0, duplicates=True)))

train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='RandomResizedCrop', size='${image_size}', scale=(0.7, 1.0)), dict(type='RandomFlip'),
    dict(type='PackImage')]))
val_evaluator = dict(
    zeroshot=dict(type='ZeroShot', templates=['a photo of a {}'], ks=(1,)))

optim_wrapper = dict(generator=dict(
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.95), weight_decay=0.1), clip_grad=dict(max_norm=1.0),
    freeze=['text.words.*', 'text.positions', 'text.blocks.*', 'text.norm.*', 'text.proj.*'],
    groups={'text.logit_*': dict(lr_mult=2)}))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}', val_interval=1000)
hooks = dict(
    log=dict(type='Log', interval=50, show=('contrastive',)),
    checkpoint=dict(type='Checkpoint', interval=250),
    results=dict(type='Results'),
    images=dict(type='Images', interval=0))
seed = 0
tiny = dict(batch_size=4, max_iters=2)
