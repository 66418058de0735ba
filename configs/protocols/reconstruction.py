"""PSNR of each image averaged, SSIM and L1 at the model's resolution.

SSIM: Gaussian window of 11, sigma 1.5, range 1, valid borders. L1 in [-1, 1].

As DualToken's evaluation has them (arXiv 2503.14324): PSNR as pyiqa, SSIM as pytorch-msssim.
"""
protocol = dict(type='Scores', metrics=dict(psnr=dict(type='PSNR'), ssim=dict(type='SSIM'), l1=dict(type='L1')))
