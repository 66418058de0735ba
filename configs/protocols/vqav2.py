"""VQAv2 (language model): accuracy by the official rule, by normalised answers, and by lmms-eval's.

Prompt of LLaVA-1.5 and lmms-eval. Rules: GT-Vision-Lab/VQA; arXiv 1505.00468. Data: --data vqav2.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='{question}\nAnswer the question using a single word or phrase.',
    decoding=dict(max_tokens=16, temperature=0), answers='vqa',
    metrics=dict(
        official=dict(type='VQAAccuracy', rule='official'),
        always=dict(type='VQAAccuracy', rule='always', prefix='always'),
        lmms_eval=dict(type='VQAAccuracy', rule='lmms_eval', prefix='lmms_eval')))
