"""One language model that names emoji, answers questions about them, and draws them, on the codes of DualToken.

A Llama of 4 blocks, trained from nothing, reads both vocabularies of the packaged tokenizer and writes both; every step
holds drawings and images with questions.

Paper: DualToken, arXiv 2503.14324, section 3.3, scaled to 64 x 64 pixels and two CPU cores.
Command: python tools/train.py configs/mllm_twemoji.py
Two CPU cores, about 30 minutes. `variants`: captions word F1 0.837, exact 45.7 %; skin tone 96.4 %; drawings R@1
38.4 %, R@5 76.5 %, cosine 0.842 (dtbox/mllm/README.md).
"""
_base_ = ['./_base_/siglip_tiny.py', './_base_/mllm_small.py']

model = dict(sequence=dict(
    tokenizer=dict(type='TrainedBPE', size=1536, texts=dict(type='TwemojiTalk', split='train'))))

# a batch holds two drawings, of plain images, for each image with questions, which come in several views
train_dataloader = dict(
    global_batch_size='${batch_size}', last='carry',
    dataset=dict(
        type='Mixture', rule=dict(type='FixedCounts', weights=dict(draw=2, talk=1)),
        datasets=dict(draw=dict(type='TwemojiDraw'), talk=dict(type='TwemojiTalk', views=4))))
val_dataloader = dict(
    batch_size=64,
    dataset=dict(type='Mixture', separate_sets=True, datasets=dict(
        draw=dict(type='TwemojiDraw', split='variants', limit='${heldout_limit}'),
        talk=dict(type='TwemojiTalk', split='heldout', limit='${heldout_limit}'))))
val_evaluator = dict(
    captions=dict(type='CaptionScore'), answers=dict(type='AnswerAccuracy'), drawings=dict(type='DrawingScore'),
    frechet=dict(type='DrawingFrechet'), closed_loop=dict(type='ClosedLoop'), nats=dict(type='CodeLikelihood'))
