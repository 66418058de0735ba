"""rFID as DualToken's code computes it: both sides as OpenCV's JPEG of quality 95, clean-fid, model's resolution.

Weights: as `rfid_clean`.
"""
_base_ = ['./rfid_clean.py']

protocol = dict(metrics=dict(fid=dict(written='jpeg')))
