"""What turns a tokenizer into a trained one: the training model, optimizers, loops, checkpoints and the Runner.

Imports nothing: who only reads a checkpoint does not pay for MMEngine's optimizers. The registries know the modules by
name.
"""
