"""GQA (language model): exact match by lmms-eval's rule and by LLaVA's.

Prompt of LLaVA-1.5 and lmms-eval. Data: --data gqa, testdev-balanced.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='{question}\nAnswer the question using a single word or phrase.',
    decoding=dict(max_tokens=16, temperature=0), answers='gqa',
    metrics=dict(lmms_eval=dict(type='GQAAccuracy', rule='lmms_eval'),
                 llava=dict(type='GQAAccuracy', rule='llava', prefix='llava')))
