"""MME (language model) with the prompt of its own files: "Please answer yes or no."

Data: --data mme.
"""
_base_ = ['./mme.py']
protocol = dict(prompt='{question} Please answer yes or no.')
