"""DualToken without its hierarchy: both vocabularies on the same deep layer, `dualtoken_rq.py` with one line changed.

Paper: DualToken, arXiv 2503.14324 (the ablation of where the pixel codes come from).
Command: python tools/train.py configs/dualtoken_single_layer.py
"""
_base_ = ['./dualtoken_rq.py']

model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(taps=7))))
