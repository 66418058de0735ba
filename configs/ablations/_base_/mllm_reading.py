"""`mllm_twemoji.py` that reads alone: images with their name and up to seven questions, no drawings and no visual head.

About 150 CPU seconds of training on one thread.
"""
_base_ = ['../../mllm_twemoji.py']

batch_size = 16
max_iters = 360
threads = 1
cpu_ranks = 1
model = dict(visual_head=None, judge=None, evaluation=dict(closed_loop=False))
train_dataloader = dict(dataset=dict(rule=dict(weights=dict(draw=None)), datasets=dict(draw=None)))
val_dataloader = dict(dataset=dict(datasets=dict(draw=None)))
val_evaluator = dict(drawings=None, frechet=None, closed_loop=None, nats=None)
hooks = dict(log=dict(show=('text',)), checkpoint=dict(interval=50), sheets=dict(interval=0))
