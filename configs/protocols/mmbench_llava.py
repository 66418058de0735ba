"""MMBench (language model) with the prompt of LLaVA-1.5: "Answer with the option's letter ..." instead of VLMEvalKit's.

Data: --data mmbench.
"""
_base_ = ['./mmbench.py']
protocol = dict(prompt=dict(
    text="{hint}{question}\n{options}Answer with the option's letter from the given choices directly.",
    hint='{text}\n'))
