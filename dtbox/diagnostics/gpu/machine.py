"""What the machine has: card, driver, versions, and what of it does not fit together."""
from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import warnings
from typing import Any

import torch

import dtbox
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.errors import InputError, reason
from dtbox.layers.attention import find_xformers_flaw

PACKAGES = ('triton', 'xformers', 'torchvision', 'timm', 'transformers', 'mmengine', 'vector-quantize-pytorch', 'lpips')


def prepare_settings(cpu: bool, device: int = 0, seconds: float = 1.0) -> Settings:
    """Return the Settings of a check on a GPU, or on the CPU.

    Args:
        cpu: run everything small on the CPU.
        device: number of the GPU.
        seconds: see `Settings`.

    Raises:
        InputError: no GPU that this PyTorch can use, or none of that number.
    """
    if cpu:
        return Settings('cpu', small=True, half=True, compiles=True, seconds=min(seconds, 0.02))
    why = find_cuda_flaw()
    if why:
        raise InputError(f'there is no GPU to check: {why}. Run it on a machine with an NVIDIA GPU, or add --cpu, '
                         'which runs every part at a small size on the CPU.')
    count = torch.cuda.device_count()
    if not 0 <= device < count:
        raise InputError(f'there is no GPU {device}; this machine has {count}, counted from 0.', '--gpu')
    why = find_kernel_flaw(device)
    if why:
        raise InputError(f'this PyTorch cannot run on the GPU: {why}. Install the PyTorch that is built for it '
                         '(https://pytorch.org/get-started/locally).')
    return Settings(f'cuda:{device}', small=False, half=has_bfloat16(device), compiles=find_triton_flaw() is None,
                    gigabytes=torch.cuda.get_device_properties(device).total_memory / 1e9, seconds=seconds)


def find_cuda_flaw() -> str | None:
    """Return why PyTorch finds no GPU, or None."""
    if torch.version.cuda is None:
        return f'PyTorch {torch.__version__} is built without CUDA'
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter('always')
        there = torch.cuda.is_available()
    if there:
        return None
    said = [str(remark.message).strip().splitlines()[0] for remark in remarks if 'CUDA' in str(remark.message)]
    return f'PyTorch {torch.__version__} is built for CUDA {torch.version.cuda}, and ' + (
        f'it says: {said[0][:200].rstrip(".")}' if said else 'finds no device (nvidia-smi tells what the driver sees)')


def find_kernel_flaw(device: int) -> str | None:
    """Return why PyTorch has no kernels for a GPU, or None.

    Kernels of sm_XY run on cards of the same X and at least that Y; code of compute_XY is translated for later ones.
    """
    major, minor = torch.cuda.get_device_capability(device)
    built = torch.cuda.get_arch_list()
    return check_kernels((major, minor), built)


def check_kernels(capability: tuple[int, int], built: list[str]) -> str | None:
    """Return why a card of a capability cannot run kernels that are built for `built` (sm_80, compute_90, ...)."""
    for name in built:
        kind, _, number = name.partition('_')
        digits = ''.join(filter(str.isdigit, number))
        if not digits:
            continue
        major, minor = int(digits[:-1] or 0), int(digits[-1])
        special = number != digits  # sm_90a runs on 9.0 alone
        if special and (major, minor) == capability:
            return None
        if not special and kind == 'sm' and major == capability[0] and minor <= capability[1]:
            return None
        if not special and kind == 'compute' and (major, minor) <= capability:
            return None
    return (f'the card has capability {capability[0]}.{capability[1]}, and PyTorch {torch.__version__} is built for '
            f'{", ".join(built) or "no card"}')


def has_bfloat16(device: int) -> bool:
    """Whether a GPU multiplies bfloat16: from Ampere on (capability 8.0)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def find_triton_flaw() -> str | None:
    """Return why torch.compile has no Triton for GPUs, or None. A version that PyTorch was not built with counts."""
    try:
        import triton  # noqa: F401
    except Exception as e:
        return f'Triton cannot be imported ({reason(e)})'
    wanted, there = find_wanted_triton(), find_version('triton')
    if wanted and there:
        from packaging.requirements import Requirement
        if not Requirement(wanted).specifier.contains(there, prereleases=True):
            return f'Triton {there} is installed, and PyTorch {torch.__version__} asks for {wanted}'
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton
        if not has_triton():
            return f'Triton {there} does not support this card'
    return None


def find_wanted_triton() -> str | None:
    """Return the requirement of PyTorch's wheel (`triton==3.4.0`), or None where it names none."""
    try:
        lines = importlib.metadata.requires('torch') or []
    except importlib.metadata.PackageNotFoundError:
        return None
    named = [line.partition(';')[0].strip() for line in lines if line.lower().startswith('triton')]
    return named[0] if named else None


def find_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_driver() -> str | None:
    """Return the version of NVIDIA's driver, or None where nvidia-smi does not tell it."""
    try:
        done = subprocess.run(['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'],
                              capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def describe_machine(settings: Settings) -> dict[str, Any]:
    """Return the facts of the machine for the report: name -> text or number, None for what is not there."""
    facts: dict[str, Any] = dict(device=platform.processor() or platform.machine(), cores=os.cpu_count(),
                                 threads=torch.get_num_threads(), system=platform.platform())
    if settings.gpu:
        card = torch.cuda.get_device_properties(settings.device)
        facts.update(device=card.name, memory=f'{card.total_memory / 1e9:.1f} GB',
                     capability=f'{card.major}.{card.minor}', multiprocessors=card.multi_processor_count,
                     driver=read_driver(), cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(),
                     nccl='.'.join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available()
                     else None, bfloat16='yes' if settings.half else 'no: models run in float32')
    facts.update(dtbox=dtbox.__version__, python=platform.python_version(), torch=str(torch.__version__))
    facts.update({name: find_version(name) for name in PACKAGES})
    if settings.gpu:
        triton, xformers = find_triton_flaw(), find_xformers_flaw()
        facts['torch.compile'] = 'left out: ' + triton if triton else None
        facts['xformers does not run'] = xformers if find_version('xformers') else None
    return facts
