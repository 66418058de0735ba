"""rFID as clean-fid computes it, both sides resized to 256 first (bicubic, antialiased).

To compare with models of 256 pixels.

Weights: as `rfid_clean`.
"""
_base_ = ['./rfid_clean.py']

protocol = dict(metrics=dict(fid=dict(size=256)))
