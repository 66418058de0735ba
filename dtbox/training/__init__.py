"""What turns a tokenizer into a trained one: the training model, optimizers, loops, checkpoints and the Runner."""
from dtbox.training import model, schedules  # noqa: F401
