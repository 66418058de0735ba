"""rFID as clean-fid computes it, pictures and reconstructions resized to 256 first (bicubic, antialiased): to compare with models of 256.

Weights: as `rfid_clean`.
"""
_base_ = ['./rfid_clean.py']

protocol = dict(metrics=dict(fid=dict(size=256)))
