"""A whole trained tokenizer on other images, with the losses, the teacher and the frozen parts of its own run, at a
lower rate. Its codes change: what was trained on them, or stored, belongs to the tokenizer before.

A converted or an exported model has no losses: give them, such as `model.losses="dict(pixels=dict(type='L2Loss',
weight=1.0), quantizers=dict(type='QuantizerLoss'))"`, and in `model.trains` the parts that these reach.

Command: python tools/train.py configs/finetune_all.py --cfg-options run=RUN data_root=PATH
"""
_base_ = ['./_base_/finetune.py']

lr = 1e-4
model = dict(losses='${run:model.losses}', teacher='${run:model.teacher?}')
optim_wrapper = dict(generator=dict(freeze='${run:optim_wrapper.generator.freeze?}',
                                    groups='${run:optim_wrapper.generator.groups?}'))
hooks = dict(log=dict(show=()), codebook_health=dict(type='CodebookHealth', interval=20))
