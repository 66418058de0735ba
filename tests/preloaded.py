"""What the server of `tests.child_processes.fork_child` imports once, before it forks: all that a training needs.

Nothing is computed here: a fork copies no threads, so OpenMP must not have started any.
"""
import contextlib

import matplotlib.pyplot  # noqa: F401
import timm  # noqa: F401
import torch
import torch.distributed.fsdp  # noqa: F401
import torchvision  # noqa: F401

import dtbox.cli.train  # noqa: F401
import dtbox.hooks  # noqa: F401
import dtbox.training.runner  # noqa: F401
from dtbox.processes import end_with_parent

with contextlib.suppress(ImportError):  # the language models of most tests are of this class
    from transformers import LlamaForCausalLM  # noqa: F401

THREADS = torch.get_num_threads()
"""What a new process would compute with; `dtbox.processes` sets 1 in a fork."""

end_with_parent()
