"""The text-aligned encoder of the CIFAR-10 recipes: a small image and text tower, trained with the sigmoid loss on "a photo of a CLASS".

Paper: SigLIP, arXiv 2303.15343.
Command: python tools/train.py configs/siglip_tiny_cifar10.py --cfg-options data_root=PATH
"""
_base_ = ['./_base_/datasets/cifar10.py']

batch_size = 32
max_iters = 7500

model = dict(
    type='TokenizerTraining',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk=dict(
            type='TimmViT', name='vit_base_patch16_siglip_224',
            model_args=dict(embed_dim=128, depth=8, num_heads=4, patch_size=4, act_layer='gelu_tanh'))),
        head=dict(type='TrunkPool'),
        text=dict(
            type='MeanPoolText', embed_dim=128, width=128, depth=2, heads=4,
            # ten texts: one pair in ten matches, so the bias starts far above SigLIP's -10, which is made for one in 32,768
            logit_scale=2.3, logit_bias=-4.0,
            tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-cifar10/tokenizer.json', context_length=8))),
    # many texts of a batch are equal: each is a pair of every picture of its class
    losses=dict(contrastive=dict(type='SigmoidContrastiveLoss', weight=1.0, duplicates=True)))

train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='RandomResizedCrop', size='${image_size}', scale=(0.7, 1.0)), dict(type='RandomFlip'), dict(type='PackImage')]))
val_evaluator = [dict(type='ZeroShot', templates=['a photo of a {}'], ks=(1,))]

optim_wrapper = dict(generator=dict(
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.95), weight_decay=0.1), clip_grad=dict(max_norm=1.0),
    # The ten texts learn slowly: at the common rate those of classes that the pictures do not tell apart yet (cat and dog, automobile and
    # truck) become one, and stay so for long. The two scalars have a long way to go.
    groups={'text.logit_*': dict(lr_mult=20), 'text.*': dict(lr_mult=0.2)}))
param_scheduler = dict(generator=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}', val_interval=1500)
hooks = [dict(type='Log', interval=100, show=('contrastive',)), dict(type='Checkpoint', interval=250), dict(type='Results'),
         dict(type='Pictures', interval=0)]
seed = 0
tiny = {'batch_size': 4, 'max_iters': 2}
