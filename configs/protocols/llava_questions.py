"""A question file of LLaVA (language model): replies are written as LLaVA's answer file; nothing is scored here.

Questions are asked as they are. Data: --data llava_questions.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='{question}', decoding=dict(max_tokens=128, temperature=0), answers='llava',
    judge='the questions have no right answers: this run writes the replies and gives no score.')
