"""What recipes with semantics share: trunk and frozen teacher, the text tower, zero-shot scores."""
_base_ = ['./siglip_tiny.py']

model = dict(
    type='TokenizerTask',
    tokenizer=dict(
        image_size='${image_size}',
        encoders=dict(trunk='${encoder}'),
        head=dict(type='TrunkPool'),  # the trunk's own pool, after its last block, reads tokens alone
        text=dict(
            type='MeanPoolText', embed_dim=128, width=128, depth=2, heads=4, weights='dtbox://siglip-tiny-twemoji',
            prefix='text.', tokenizer=dict(type='FileTokenizer', file='dtbox://siglip-tiny-twemoji/tokenizer.json',
                                           context_length=16))),
    teacher=dict(encoder='${encoder}', layer=7))

# the text tower stays as it is; the encoder starts from good weights and moves slowly
optim_wrapper = dict(generator=dict(freeze=['text.*'], groups={'encoders.trunk.*': dict(lr_mult=0.3)}))
val_evaluator = dict(token_cosine=dict(type='TokenCosine'), retrieval=dict(type='Retrieval'),
                     zeroshot=dict(type='ZeroShot'))
