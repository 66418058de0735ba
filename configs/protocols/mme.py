"""MME (language model): accuracy and accuracy+ of each category, sums of perception and cognition.

Prompt of LLaVA-1.5 and lmms-eval, in the place of "Please answer yes or no." (`mme_official`). Rule: the official
calculation.py. Data: --data mme.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='{question}\nAnswer the question using a single word or phrase.',
    decoding=dict(max_tokens=16, temperature=0), answers='mme', metrics=dict(mme=dict(type='MME')))
