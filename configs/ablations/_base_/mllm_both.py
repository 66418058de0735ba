"""`mllm_twemoji.py` on one thread: two drawings for each image with questions, as many drawings as `mllm_drawing.py`.

About 1,000 CPU seconds of training.
"""
_base_ = ['../../mllm_twemoji.py']

batch_size = 24
max_iters = 1350
threads = 1
cpu_ranks = 1
hooks = dict(checkpoint=dict(interval=50), sheets=dict(interval=0))
