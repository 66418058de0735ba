"""PSNR, SSIM, time and memory over sizes of 256 to 1,024 pixels, by resized position tables and by tiles.

Data: the run's own, or --data; the first 200 images. Sizes: --cfg-options protocol.sizes=256,512.
"""
protocol = dict(type='Resolution', metrics=dict(psnr=dict(type='PSNR'), ssim=dict(type='SSIM')),
                sizes=(256, 384, 512, 768, 1024), limit=200)
