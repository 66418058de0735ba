"""rFID as torch-fidelity computes it (TensorFlow's Inception, converted), of PNG files at the model's resolution.

Weights: --cfg-options inception_fidelity=PATH of weights-inception-2015-12-05-6726825d.pth, or
inception_fidelity=download.
"""
inception_fidelity = None
protocol = dict(type='Scores', metrics=dict(fid=dict(type='FID', library='torch-fidelity',
                                                     weights='${inception_fidelity}')))
