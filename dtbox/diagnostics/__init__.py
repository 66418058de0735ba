"""What one measures about parts and runs, apart from training and evaluation.

`conflict` the gradients of two aims (the hook GradientConflict, from outside). `layers` the layer
finder, with its `probes`, their `scores` and the `choice` of layers. `atlas` the code atlas, with its `pages`,
`patches` and mutual `information`. `step_time` the time of a training step, `gpu` the check of a GPU, `rates` and
`profiles` what both measure with. `subjects` and `output_folder`: what is diagnosed, and where it goes.
"""
