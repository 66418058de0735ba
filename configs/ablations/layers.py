"""Which layers: the pixel vocabulary's against the semantic vocabulary's.

The semantic vocabulary is trained towards the teacher's output of the layer that it taps, so its token cosine is not
comparable from one layer to another; the pooled cosine and R@1, measured after the last block, are.
"""
base = '_base_/twemoji.py'
title = 'The pixel layer against the semantic layer'
_V = 'model.tokenizer.vocabularies'
axes = dict(
    pixel=dict(key=_V + '.pixel.taps', values=[1, 2, 3, 4, 6]),
    semantic=dict(variants={str(_layer): {_V + '.semantic.taps': _layer, _V + '.semantic.reinject': _layer,
                                          'model.teacher.layer': _layer}
                            for _layer in (5, 6, 7, 8)}))
exclude = [dict(pixel=6, semantic=5)]  # a pixel vocabulary after the re-injection would read semantic tokens
seeds = [0]
reference = dict(pixel=2, semantic=7)
metrics = ['all/psnr', 'all/pooled_cosine', 'all/ssim', 'variants/t2i_r1/tokens', 'variants/i2t_r1/tokens']
