"""rFID as clean-fid computes it (arXiv 2104.11222), of PNG files at the model's resolution.

Weights: --cfg-options inception_clean=PATH of NVIDIA's inception-2015-12-05.pt, or inception_clean=download.
"""
inception_clean = None
protocol = dict(type='Scores', metrics=dict(fid=dict(type='FID', library='clean-fid', weights='${inception_clean}')))
