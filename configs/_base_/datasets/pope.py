"""POPE on COCO's images: about 9,000 questions with yes or no. See README.md here."""
data_root = None
image_size = 256
batch_size = 64
num_workers = 4
resize = 'squash'  # the whole image; 'short_side' cuts the centre
limit = None  # take the first questions; of MME and MMBench the first images
broken = 'error'  # 'skip' leaves questions without image out, named and counted

ids = None  # 'llava_pope_test.jsonl' reads answers by the ids of LLaVA's question file

val_pipeline = [dict(type='ResizeCrop', size='${image_size}', mode='${resize}'), dict(type='PackImage')]
val_dataloader = dict(
    batch_size='${batch_size}', num_workers='${num_workers}',
    dataset=dict(type='POPEQuestions', data_root='${data_root}', ids='${ids}', limit='${limit}', broken='${broken}',
                 pipeline='${val_pipeline}'))
