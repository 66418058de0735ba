"""MMBench or another table of questions with options as VLMEvalKit has them. See README.md here."""
_base_ = ['./pope.py']  # loader and pipeline; a data set of another type replaces the one there

file = 'MMBench_DEV_EN.tsv'
rotations = 'file'  # 'make' for a table without rotations of the options
val_dataloader = dict(dataset=dict(
    type='VLMEvalKitTSV', data_root='${data_root}', file='${file}', rotations='${rotations}',
    limit='${limit}', broken='${broken}', pipeline='${val_pipeline}'))
