"""How much of layer 1 should be added to layer 2 in the pixel vocabulary, and should the weights be learned?

`hard` taps layer 2 alone. `shortcut_*` adds layer 1 with that weight (the paper's is 0.6). `learned` makes both weights
a softmax, from 1.0 and 0.6 on.
"""
base = '_base_/twemoji.py'
title = 'The soft split of the pixel vocabulary'
_TAPS = 'model.tokenizer.vocabularies.pixel.taps'
axes = dict(split=dict(variants=dict(
    hard={_TAPS: {2: 1.0}},
    shortcut_0_3={_TAPS: {2: 1.0, 1: 0.3}},
    shortcut_0_6={_TAPS: {2: 1.0, 1: 0.6}},
    shortcut_1_0={_TAPS: {2: 1.0, 1: 1.0}},
    learned={_TAPS: {2: 1.0, 1: 0.6}, 'model.tokenizer.vocabularies.pixel.learn': True})))
seeds = [0, 1, 2]
reference = dict(split='shortcut_0_6')
metrics = ['all/psnr', 'all/token_cosine', 'all/pooled_cosine', 'all/ssim', 'variants/t2i_r1/tokens',
           'variants/i2t_r1/tokens']
