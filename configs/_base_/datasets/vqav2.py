"""VQAv2: 214,354 questions of the validation part, each with the answers of ten people. See README.md here."""
_base_ = ['./pope.py']  # loader and pipeline; a data set of another type replaces the one there

split = 'val2014'  # or test-dev2015, test2015: answers are written and not scored
val_dataloader = dict(dataset=dict(
    type='VQAv2Questions', data_root='${data_root}', split='${split}', limit='${limit}', broken='${broken}',
    pipeline='${val_pipeline}'))
