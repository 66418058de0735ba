"""Does a model that draws and reads lose to one that does either alone?

`together` sees 16 drawings and 8 images with questions a step, `drawing` the same 16 drawings alone, `reading` the same
8 images alone, all for as many steps: what differs is whether the other direction trains along. Each is evaluated in
both, so that the direction it never saw shows the floor. One seed: a difference says nothing of other seeds. Run
`mllm_tokenizers` first.
"""
base = '_base_/mllm_both.py'
title = 'Both directions in one model, or one alone'
overrides = {'tokenizer': 'trial://mllm_tokenizers/two__seed{seed}'}
_TRAIN = 'train_dataloader.dataset'


def _without(other, batch):
    return {'batch_size': batch, f'{_TRAIN}.datasets.{other}': None, f'{_TRAIN}.rule.weights.{other}': None}


axes = dict(trains=dict(variants=dict(together={}, drawing=_without('talk', 16), reading=_without('draw', 8))))
seeds = [0]
reference = dict(trains='together')
metrics = ['variants_talk/caption_f1', 'variants_talk/answers', 'variants_draw/drawing_t2i_r1/s=2',
           'variants_draw/drawing_cosine/s=2', 'variants_draw/nats/pixel', 'variants_draw/nats/semantic']
