"""What recipes with semantics share: trunk and frozen teacher, the text tower, zero-shot scores."""
_base_ = ['./siglip_tiny.py']

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk='${encoder}'),
        head=dict(type='TrunkPool'),  # the trunk's own pool, after its last block, reads tokens alone
        text='${text_tower}'),
    teacher=dict(encoder='${encoder}', layer=7))

# the text tower stays as it is; the encoder starts from good weights and moves slowly
optim_wrapper = dict(generator=dict(freeze=['text.*'], groups={'encoders.trunk.*': dict(lr_mult=0.3)}))
val_evaluator = dict(token_cosine=dict(type='TokenCosine'), retrieval=dict(type='Retrieval'),
                     zeroshot=dict(type='ZeroShot'))
