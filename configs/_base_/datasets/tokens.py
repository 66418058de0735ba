"""Token shards of `dtbox encode` for a language model with the tokenizer that made them: texts that are drawn, and
images that are named. See README.md here."""
data_root = None
holdout = 0.02  # fraction of the images that is held out
question = 'what is it?'
views = 'epoch'  # one view of each image an epoch; 'all': each view is a sample of its own
fingerprint = None  # digest that the shards must have
cache = None  # folder of the memory-mapped cache; None: .cache in data_root
batch_size = 32
num_workers = 0
heldout_limit = None  # evaluate at most so many held-out images of each task

train_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}', last='carry',
    dataset=dict(
        type='Mixture', rule=dict(type='FixedCounts', weights=dict(draw=2, caption=1)),
        datasets=dict(
            draw=dict(type='TokenShards', data_root='${data_root}', holdout='${holdout}', views='${views}',
                      fingerprint='${fingerprint}', cache='${cache}', task='draw'),
            caption=dict(type='TokenShards', data_root='${data_root}', holdout='${holdout}', views='${views}',
                         fingerprint='${fingerprint}', cache='${cache}', task='caption', question='${question}'))))

val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(
        type='Mixture', separate_sets=True, datasets=dict(
            draw=dict(type='TokenShards', data_root='${data_root}', holdout='${holdout}', split='heldout',
                      fingerprint='${fingerprint}', cache='${cache}', task='draw', limit='${heldout_limit}'),
            caption=dict(type='TokenShards', data_root='${data_root}', holdout='${holdout}', split='heldout',
                         fingerprint='${fingerprint}', cache='${cache}', task='caption', question='${question}',
                         limit='${heldout_limit}'))))
