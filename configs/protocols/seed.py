"""SEED-Bench (language model), questions about images: the first character of the reply is the letter.

Prompt and rule of lmms-eval. Data: --data seed.
"""
protocol = dict(
    type='BenchmarkReplies', prompt=dict(
        text="{question}\n{options}Answer with the option's letter from the given choices directly.",
        option='{letter}. {text}\n'),
    decoding=dict(max_tokens=16, temperature=0), answers='llava',
    metrics=dict(letters=dict(type='MultipleChoice', rule='first_character')))
