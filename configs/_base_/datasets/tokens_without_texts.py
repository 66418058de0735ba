"""Token shards of images without texts, for a language model that draws without a prompt. See README.md here."""
data_root = None
holdout = 0.02  # fraction of the images that is held out
views = 'epoch'  # one view of each image an epoch; 'all': each view is a sample of its own
fingerprint = None  # digest that the shards must have
cache = None  # folder of the memory-mapped cache; None: .cache in data_root
batch_size = 32
num_workers = 0

train_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}', last='carry',
    dataset=dict(type='TokenShards', data_root='${data_root}', holdout='${holdout}', views='${views}',
                 fingerprint='${fingerprint}', cache='${cache}', task='image'))
