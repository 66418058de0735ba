"""MM-Vet: 218 questions whose replies a GPT model judges. See README.md here."""
_base_ = ['./pope.py']  # loader and pipeline; a data set of another type replaces the one there

val_dataloader = dict(dataset=dict(
    type='MMVetQuestions', data_root='${data_root}', limit='${limit}', broken='${broken}',
    pipeline='${val_pipeline}'))
