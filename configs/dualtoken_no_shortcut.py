"""DualToken without the shortcut: pixel codes from layer 2 alone, `dualtoken_rq.py` with one line changed.

Paper: DualToken, arXiv 2503.14324 (`layer_shortcut` of its published configs left out).
Command: python tools/train.py configs/dualtoken_no_shortcut.py
"""
_base_ = ['./dualtoken_rq.py']

model = dict(tokenizer=dict(vocabularies=dict(pixel=dict(taps=2))))
