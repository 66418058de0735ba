"""`mllm_twemoji.py` that draws alone: names of emoji and their images, no questions.

About 700 CPU seconds of training on one thread: shorter runs draw blobs whose scores tell nothing.
"""
_base_ = ['../../mllm_twemoji.py']

batch_size = 16
max_iters = 1350
threads = 1
cpu_ranks = 1
model = dict(evaluation=dict(closed_loop=False))
train_dataloader = dict(dataset=dict(rule=dict(weights=dict(talk=None)), datasets=dict(talk=None)))
val_dataloader = dict(dataset=dict(datasets=dict(talk=None)))
val_evaluator = dict(captions=None, answers=None, closed_loop=None)
hooks = dict(log=dict(show=('pixel',)), checkpoint=dict(interval=50), sheets=dict(interval=0))
