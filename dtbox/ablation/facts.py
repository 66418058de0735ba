"""What a trial's row says beside its metrics: size, tokens and bits of a tokenizer, memory of the process."""
from __future__ import annotations

import math
import sys
from typing import Any

import torch


def compute_tokenizer_facts(tokenizer: Any) -> dict[str, float]:
    """Return the size of a tokenizer and of what it makes of an image.

    A quantizer that several vocabularies share is counted once.

    Args:
        tokenizer: VisualTokenizer.

    Returns:
        dict: `parameters` (of the whole tokenizer, text tower included), `tokens` (codes per image, over all
        vocabularies and depths), `bits` per image (each code log2 of its codebook's size) and `bits_per_pixel`. Where
        a vocabulary is continuous, its latents count as no tokens, and the two of bits are missing.
    """
    tokens = 0
    bits = 0.0
    seen = set()
    for vocabulary in tokenizer.vocabularies.values():
        if id(vocabulary.quantizer) in seen:
            continue
        seen.add(id(vocabulary.quantizer))
        count, sizes = vocabulary.layout.tokens, vocabulary.quantizer.codebook_sizes
        tokens += count * len(sizes)
        bits += count * sum(math.log2(size) for size in sizes)
    height, width = tokenizer.image_size
    facts = dict(parameters=sum(p.numel() for p in tokenizer.parameters()), tokens=tokens)
    if not all(vocabulary.quantizer.codebook_sizes for vocabulary in tokenizer.vocabularies.values()):
        return facts
    return dict(facts, bits=round(bits, 3), bits_per_pixel=round(bits / (height * width), 6))


def compute_model_facts(task: Any) -> dict[str, float]:
    """Return the facts of what a task trains: of a multimodal language model its own parameters, and the codes and bits
    of the tokenizer that it is frozen on.

    Args:
        task: Task.

    Returns:
        as `compute_tokenizer_facts`.
    """
    from dtbox.apis.opening import MLLM
    if getattr(task, 'opens_as', '') != MLLM:
        return compute_tokenizer_facts(task.tokenizer)
    facts = compute_tokenizer_facts(task.tokenizer.model)
    return dict(facts, parameters=sum(p.numel() for p in task.parts[task.main_part].parameters()))


def measure_peak_megabytes() -> float:
    """Return the most memory that this process held, in MB (10^6 bytes): of the GPU where there is one, else
    resident."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    try:  # Linux's ru_maxrss begins with what the process that started this one held
        with open('/proc/self/status') as f:
            return round(next(int(line.split()[1]) for line in f if line.startswith('VmHWM:')) * 1024 / 1e6, 1)
    except (OSError, StopIteration):
        import resource
        unit = 1 if sys.platform == 'darwin' else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
