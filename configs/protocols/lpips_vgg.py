"""LPIPS v0.1 with VGG16 (arXiv 1801.03924), as DualToken and most tokenizers report it; reconstructions not clamped.

Weights: --cfg-options lpips_vgg=PATH of torchvision's vgg16-397923af.pth, or lpips_vgg=download.
"""
lpips_vgg = None
protocol = dict(type='Scores', metrics=dict(lpips=dict(type='LPIPS', net='vgg', weights='${lpips_vgg}')))
