"""DualToken for one large GPU: SigLIP 2 L/16, 384 pixels, 576 tokens of 8 + 8 codes of 16,384.

Paper: DualToken, arXiv 2503.14324; codes as in its 384-pixel size, `paper/dualtoken_so400m_384_rq8.py` ("release"). All
else as in `dualtoken_b16_256.py`, which also says how other data and encoders are taken.

Command: python tools/train.py configs/dualtoken_l16_384.py --cfg-options data_root=PATH siglip=hub
Batch and recomputation for a card, time and memory: dtbox describe dualtoken_l16_384 --memory 80

Never trained: what `describe` prints is predicted, not measured on a GPU.
"""
_base_ = ['./dualtoken_b16_256.py']

image_size = 384  # release
recompute = True  # release: encoder blocks checkpointed
encoder = dict(name='google/siglip2-large-patch16-384')
quantizer = dict(depth=8)  # release: code_shape
model = dict(
    tokenizer=dict(
        vocabularies=dict(pixel=dict(taps={5: 1.0, 4: 0.6}),  # ours: 6 and 4 of 27 layers, in proportion
                          semantic=dict(taps=23, reinject=23)),  # release: the last layer but one
        decoder=dict(attention_resolutions=(24,))),  # release
    teacher=dict(layer=23))
