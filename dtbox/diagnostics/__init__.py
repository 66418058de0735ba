"""What one measures about parts and runs, apart from training and evaluation.

`conflict` the gradients of two aims (the hook GradientConflict, from outside). `layers` the layer
finder, with its `probes`, their `scores` and the `choice` of layers. `atlas` the code atlas, with its `pages`,
`patches` and mutual `information`. `subjects` and `folders`: what is diagnosed, and where it goes.
"""
