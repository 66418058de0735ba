"""What the embedded language models on codes share: the packaged tokenizer, the judge of drawings, the training."""
image_size = 64
tokenizer = 'dtbox://dualtoken-twemoji'  # or the folder of another run
codes = 'work_dirs/codes'  # keeps the codes of images for other runs with the same tokenizer
batch_size = 24
max_iters = 3200
heldout_limit = None  # evaluate at most so many held-out images of each dataset

model = dict(
    type='MLLMTask',
    tokenizer=dict(type='TrainedTokenizer', source='${tokenizer}'), cache='${codes}',
    evaluation=dict(scales=[2.0], seeds=3, sampling=dict(temperature=0.5)),  # chosen on names of the training set
    judge=dict(encoder='${encoder}', text='${text_tower}'))

optim_wrapper = dict(model=dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05), clip_grad=dict(max_norm=1.0)))
param_scheduler = dict(model=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.05))
train_cfg = dict(max_iters='${max_iters}')
hooks = dict(
    log=dict(type='Log', interval=20, show=('text', 'pixel')),
    checkpoint=dict(type='Checkpoint', interval=200),
    results=dict(type='Results'),
    images=dict(type='Images', interval=0),  # curves of the losses
    sheets=dict(type='ConversationSheets', interval=400))
seed = 0
threads = 1
cpu_ranks = 2  # so small a model trains faster on two ranks than on two threads
tiny = dict(codes=None, model=dict(evaluation=dict(seeds=1)), batch_size=6, max_iters=2, heldout_limit=8)
