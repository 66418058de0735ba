"""MM-Vet (language model): replies are written for its grader, a GPT model; nothing is scored here.

Data: --data mmvet.
"""
protocol = dict(
    type='BenchmarkReplies', prompt='{question}', decoding=dict(max_tokens=512, temperature=0), answers='mmvet',
    judge='the replies are judged by a GPT model behind a network, which dtbox does not ask: this run writes them and '
          'gives no score. Hand the file to the grader of MM-Vet.')
