"""Captions (language model): CIDEr-D x 100, beside what right captions score by themselves and by each other.

Data: --data asked_coco, or asked_twemoji. Tokenized without Java: see `tokenize_caption`.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='{question}', decoding=dict(max_tokens=32, temperature=0), answers='llava',
    metrics=dict(cider=dict(type='CIDErD')))
