"""LPIPS v0.1 with AlexNet (arXiv 1801.03924), as its authors recommend for measuring; reconstructions not clamped.

Weights: --cfg-options lpips_alex=PATH of torchvision's alexnet-owt-7be5be79.pth, or lpips_alex=download.
"""
lpips_alex = None
protocol = dict(type='Scores', metrics=dict(lpips=dict(type='LPIPS', net='alex', weights='${lpips_alex}')))
