"""What a trial's row says beside its metrics: size, tokens, bits and speed of a tokenizer, memory of the process."""
from __future__ import annotations

import math
import sys
import time
from typing import Any, Callable

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
        as `compute_tokenizer_facts`, and of a tokenizer as `measure_rates`.
    """
    from dtbox.apis.opening import MLLM
    if getattr(task, 'opens_as', '') != MLLM:
        return dict(compute_tokenizer_facts(task.tokenizer), **measure_rates(task.tokenizer))
    facts = compute_tokenizer_facts(task.tokenizer.model)
    return dict(facts, parameters=sum(p.numel() for p in task.parts[task.main_part].parameters()))


def measure_rates(tokenizer: Any, images: int = 16, calls: int = 5) -> dict[str, float]:
    """Return how many images a tokenizer turns into codes, and codes into images, in a second.

    On a CPU a second is one of CPU time, of all threads together, so that other work on the machine counts little; on
    a GPU it is one of the clock. Random images: what they show does not matter.

    Args:
        tokenizer: VisualTokenizer.
        images: of a batch.
        calls: of each way, after one to warm up.

    Returns:
        dict: `encode_rate`, and `decode_rate` where there is a decoder.
    """
    device, training = next(tokenizer.parameters()).device, tokenizer.training
    generator = torch.Generator().manual_seed(0)
    batch = (torch.rand(images, 3, *tokenizer.image_size, generator=generator) * 2 - 1).to(device)
    tokenizer.eval()
    try:
        rates = dict(encode_rate=_rate(lambda: tokenizer.encode(batch, tokenizer.check_streams(None)), device, calls))
        if tokenizer.decoder is not None:
            with torch.no_grad():
                codes = tokenizer.encode(batch, tokenizer.reads)
            texts = _make_text_tokens(tokenizer, images).to(device) if tokenizer.guided else None
            rates['decode_rate'] = _rate(lambda: tokenizer.decode(codes, texts), device, calls)
    finally:
        tokenizer.train(training)
    return {name: round(images * rate, 2) for name, rate in rates.items()}


def _make_text_tokens(tokenizer: Any, images: int) -> torch.Tensor:
    """Return zeros [B,L,W] in the place of the tokens of the texts that guide a decoder; their tower is not timed."""
    asked = tokenizer.decoder.guidance
    return torch.zeros(images, asked.length, asked.width)


def _rate(work: Callable[[], Any], device: torch.device, calls: int) -> float:
    clock = time.perf_counter if device.type == 'cuda' else time.process_time

    def now() -> float:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return clock()
    with torch.no_grad():
        work()
        begun = now()
        for _ in range(calls):
            work()
        return calls / (now() - begun)


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
