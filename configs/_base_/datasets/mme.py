"""MME: 2,374 questions with yes or no, two about each image, in 14 categories. See README.md here."""
_base_ = ['./pope.py']  # loader and pipeline; a data set of another type replaces the one there

val_dataloader = dict(dataset=dict(
    type='MMEQuestions', data_root='${data_root}', limit='${limit}', broken='${broken}',
    pipeline='${val_pipeline}'))
