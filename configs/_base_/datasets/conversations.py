"""Conversations of your own, in LLaVA's or OpenAI's format, for a language model. See README.md here."""
data_root = None
train_file = 'train.jsonl'  # in data_root; a .json file is a list, a .jsonl file has one conversation a line
heldout_file = 'heldout.jsonl'
images = None  # folder of the images in data_root; None: paths begin at data_root itself
tokens = None  # folder of token shards of the images: training reads their codes, and no image
independent = False  # True: questions about one image do not see each other's answers
broken = 'error'  # 'skip': a training row that cannot be used is left out, named and counted
image_size = 256
batch_size = 32
num_workers = 0
heldout_limit = None  # evaluate at most so many held-out conversations

pipeline = [dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')]

train_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}', last='carry',
    dataset=dict(
        type='ConversationFiles', data_root='${data_root}', file='${train_file}', images='${images}', split='train',
        tokens='${tokens}', independent='${independent}', broken='${broken}', pipeline='${pipeline}'))

val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(
        type='ConversationFiles', data_root='${data_root}', file='${heldout_file}', images='${images}',
        split='heldout', independent='${independent}', broken='skip', limit='${heldout_limit}',
        pipeline='${pipeline}'))
