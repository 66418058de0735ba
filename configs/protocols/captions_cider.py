"""Captions (language model): CIDEr-D x 100, beside what right captions score by themselves and by each other.

Prompt of lmms-eval; the embedded recipes ask "what is it?": --data asked_twemoji --cfg-options
protocol.prompt="what is it?". Other data: --data asked_coco. Tokenized without Java: see `tokenize_caption`.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='Provide a one-sentence caption for the provided image.',
    decoding=dict(max_tokens=32, temperature=0), answers='llava',
    metrics=dict(cider=dict(type='CIDErD')))
