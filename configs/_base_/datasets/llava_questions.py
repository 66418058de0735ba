"""A question file of LLaVA, question_id, image and text a line. See README.md here."""
_base_ = ['./pope.py']  # loader and pipeline; a data set of another type replaces the one there

file = 'questions.jsonl'
images = ''  # folder in data_root
val_dataloader = dict(dataset=dict(
    type='LLaVAQuestions', data_root='${data_root}', file='${file}', images='${images}',
    limit='${limit}', broken='${broken}',
    pipeline='${val_pipeline}'))
