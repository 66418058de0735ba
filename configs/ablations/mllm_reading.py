"""What should a language model read: both vocabularies, one of the two, or one vocabulary with the bits of both?

Captions and questions alone, no drawing. `both` reads pixel and semantic codes of DualToken, 40 + 40 bits a place;
`semantic` and `pixel` read 40 of these; `one` reads one vocabulary of 80 bits, of a tokenizer of its own. `features`
reads the tokenizer's features after the post-projection, `learned` has rows of its own for the codes; both read both
vocabularies. Every seed has its own tokenizers, which its variants share: run `mllm_tokenizers` first.
"""
base = '_base_/mllm_reading.py'
title = 'What a language model reads'
overrides = {'tokenizer': 'trial://mllm_tokenizers/two__seed{seed}'}
_EMBEDDING = 'model.visual_embedding'
axes = dict(reads=dict(variants=dict(
    both={}, semantic={_EMBEDDING: dict(type='CodesEmbedding', streams=['semantic'])},
    pixel={_EMBEDDING: dict(type='CodesEmbedding', streams=['pixel'])},
    one={'tokenizer': 'trial://mllm_tokenizers/one__seed{seed}'},
    features={_EMBEDDING: dict(type='FeaturesEmbedding')},
    learned={_EMBEDDING: dict(type='LearnedEmbedding')})))
seeds = [0, 1, 2, 3, 4]
seeds_first = True
reference = dict(reads='both')
metrics = ['variants_talk/caption_f1', 'variants_talk/answers', 'variants_talk/caption_exact', 'variants_talk/cider',
           'concepts_talk/caption_f1', 'variants_talk/answer/skin_tone', 'variants_talk/answer/background']
