"""MMBench and other tables of VLMEvalKit (language model): right letters, and all rotations right (CircularEval).

Prompt and rule (`can_infer`, judge `exact_matching`) of VLMEvalKit. Data: --data mmbench.
"""
protocol = dict(
    type='BenchmarkReplies', prompt=dict(
        text='{hint}Question: {question}\nOptions:\n{options}'
             'Please select the correct answer from the options above. \n',
        option='{letter}. {text}\n', hint='Hint: {text}\n'),
    decoding=dict(max_tokens=32, temperature=0), answers='vlmevalkit',
    metrics=dict(letters=dict(type='MultipleChoice', rule='vlmevalkit', circular=True, judge='exact_matching')))
