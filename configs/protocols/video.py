"""Frame by frame: PSNR over time, flicker, codes that change between frames; leaves a plot and files.

Data: --data configs/_base_/datasets/video.py.
"""
protocol = dict(type='VideoScores', metrics=dict(frame_change=dict(type='FrameChange'), ssim=dict(type='SSIM')))
