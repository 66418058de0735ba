"""How should the codes of a place be written: in which order of the vocabularies, and one after the other or at once?

Drawings alone. `independent`, `semantic_first` and `joint` are orders of a depth transformer (`dtbox/visual_heads`);
`parallel` writes all codes of a place at once, `delay` one depth a step of the language model. One seed: a difference
says nothing of other seeds. All write the codes of one tokenizer, so that nats compare. Run `mllm_tokenizers` first.
"""
base = '_base_/mllm_drawing.py'
title = 'How the codes of a place are written'
overrides = {'tokenizer': 'trial://mllm_tokenizers/two__seed{seed}'}


def _depth(order):
    return {'model.visual_head': dict(type='DepthHead', inner=128, blocks=2, heads=4, order=order)}


axes = dict(head=dict(variants=dict(
    independent=_depth('independent'), semantic_first=_depth('semantic_first'), joint=_depth('joint'),
    parallel={'model.visual_head': dict(type='ParallelHead', inner=128)},
    delay={'model.visual_head': dict(type='DelayHead')})))
seeds = [0]
reference = dict(head='independent')
metrics = ['variants_draw/drawing_t2i_r1/s=2', 'variants_draw/drawing_t2i_r5/s=2', 'variants_draw/drawing_cosine/s=2',
           'variants_draw/drawing_frechet/s=2', 'variants_draw/nats/pixel', 'variants_draw/nats/semantic',
           'variants_draw/prompt_gain/pixel', 'variants_draw/prompt_gain/semantic']
