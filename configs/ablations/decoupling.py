"""Does one codebook for both aims hurt both, and do two codebooks on shallow and deep layers help both?

The claim of DualToken (arXiv 2503.14324), at small scale. Every variant has 64 tokens of 80 bits, so that none wins by
more bits: one codebook of depth 8, or two of depth 4.

- `one_deep`: one codebook on layer 7, read by the decoder and trained towards the teacher's layer 7.
- `one_shallow`: the same on layers 2 and 1.
- `two_same_layer`: two codebooks, both on layer 7.
- `two_hierarchical`: a pixel codebook on layers 2 and 1, a semantic one on layer 7 (DualToken).

`one_deep_40` and `one_shallow_40` give the one codebook the depth, 4, that each of the two has: half of the bits in
all. Two more, `pixel_alone` and `semantic_alone`, show what each aim reaches alone with that depth.
"""
base = '_base_/twemoji.py'
title = 'One codebook or two, and on which layers?'

_V, _L = 'model.tokenizer.vocabularies', 'model.losses'
_FREEZE = 'optim_wrapper.generator.freeze'
_one = dict(type='RQ', size=1024, dim=16, depth=8)
_half = dict(type='RQ', size=1024, dim=16, depth=4)
_shallow = {2: 1.0, 1: 0.6}
_behind = 'encoders.trunk.trunk.'  # blocks count from 0: [2-6] are the layers 3 to 7


def _one_deep(quantizer):
    return {_V: dict(pixel=None, semantic=dict(quantizer=quantizer)), 'model.tokenizer.decoder.reads': ['semantic']}


# what it re-injects takes the place of what the layers 3 to 7 give: those stay as they are
def _one_shallow(quantizer):
    return {_V: dict(pixel=None, semantic=dict(taps=_shallow, quantizer=quantizer)),
            'model.tokenizer.decoder.reads': ['semantic'], _FREEZE: ['text.*', _behind + 'blocks.[2-6].*']}


axes = dict(codebooks=dict(variants=dict(
    one_deep=_one_deep(_one), one_shallow=_one_shallow(_one),
    two_same_layer={_V + '.pixel.taps': 7},
    two_hierarchical={},
    pixel_alone={_V + '.semantic': None, _L + '.semantic': None, _L + '.pooled': None,
                 'model.tokenizer.head': None,
                 _FREEZE: ['text.*', _behind + 'blocks.[2-7].*', _behind + 'norm.*', _behind + 'attn_pool.*']},
    semantic_alone={_V + '.pixel': None, _L + '.pixels': None, _L + '.perceptual': None,
                    'model.tokenizer.decoder': None},
    one_deep_40=_one_deep(_half), one_shallow_40=_one_shallow(_half))))
seeds = [0, 1, 2]
reference = dict(codebooks='two_hierarchical')
metrics = ['all/psnr', 'all/token_cosine', 'all/pooled_cosine', 'all/ssim', 'variants/t2i_r1/tokens',
           'variants/i2t_r1/tokens']
