"""TA-TiTok: `titok.py` whose decoder is guided by the text of the image, in half the tokens: the text says what it is.

Paper: TA-TiTok, arXiv 2501.07730.
Faithful: all tokens of a frozen text tower after its last norm, padding too, join the decoder's sequence by a linear
layer and positions of their own; codes do not depend on texts; one stage. Encoder, decoder and quantizer give the
release's outputs with its weights (`dtbox convert titok`).
Deviations: those of `titok.py`; the names of emoji for captions, read by the tower of the small packaged encoder (16
tokens of width 128) instead of CLIP's (77 of 768).
Texts are those of the data: with a folder of your own each image needs a caption, or a text for all of them:
--cfg-options "model.tokenizer.decoder.guidance.default='a photo'"
Without texts: --cfg-options model.tokenizer.decoder.guidance=none model.tokenizer.text=none \\
    optim_wrapper.generator.freeze=none
Command: python tools/train.py configs/tatitok.py
"""
_base_ = ['titok']

latents = 32
model = dict(tokenizer=dict(text='${text_tower}', decoder=dict(guidance=dict(length=16, width=128))))
optim_wrapper = dict(generator=dict(freeze=['text.*']))
