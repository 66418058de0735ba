"""The decoder of a trained tokenizer on other images: its codes stay as they are, so that language models on them, and
codes that are stored, remain valid.

Encoders, vocabularies and codebooks are frozen and in evaluation mode. The loss is L2 alone; `perceptual=` adds LPIPS,
`gan=` a discriminator (see configs/README.md, Fine-tune).

Command: python tools/train.py configs/finetune_decoder.py --cfg-options run=RUN data_root=PATH
"""
_base_ = ['./_base_/finetune.py']

perceptual = None  # "dict(type='LPIPSLoss', net='vgg', weights='download', weight=1.0)"
model = dict(
    trains=['decoder'],
    losses=dict(pixels=dict(type='L2Loss', weight=5.0), perceptual='${perceptual}'))
hooks = dict(log=dict(show=('l2',)))
