"""POPE (language model): accuracy, precision, recall, F1 and yes ratio by LLaVA's rule and by lmms-eval's.

Prompt of both. Their numbers do not compare: see `pope_scores`. Data: --data pope.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='{question}\nAnswer the question using a single word or phrase.',
    decoding=dict(max_tokens=16, temperature=0), answers='llava',
    metrics=dict(llava=dict(type='POPE', rule='llava', prefix='llava'),
                 lmms_eval=dict(type='POPE', rule='lmms_eval', prefix='lmms_eval')))
