"""Part `search-speed`: the search of dtbox beside vector-quantize-pytorch and `torch.cdist().argmin()`, in turn,
against the rates of matrix products on the same device."""
from __future__ import annotations

import importlib.util

import torch

from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.quantizer_cases import PEERS, Case, prepare_contenders
from dtbox.diagnostics.rates import compare_in_turn, take_medians

CASES = (Case('RQ', 1458, 32, 16384, depth=8), Case('RQ', 23328, 32, 16384, depth=8), Case('RQ', 4096, 32, 262144))
"""DualToken's codes of one image and of 16, and a huge codebook."""
SMALL = (Case('RQ', 64, 16, 256, depth=2), Case('RQ', 64, 16, 1024))


def measure(settings: Settings, report: Report) -> None:
    """Measure the rates, then every case; a contender that does not fit the memory is left out of its case."""
    rates = measure_rates(settings)
    for name, rate in rates.items():
        report.measure(f'matrix products, {name}', rate / 1e12, 'TFLOP/s')
    memory = 0.4e9 * settings.gigabytes if settings.gpu else 1e9
    for case in settings.choose(CASES, SMALL):
        measure_case(case, settings, report, rates['float32'], memory)


def measure_rates(settings: Settings) -> dict[str, float]:
    """Return name of a type -> operations a second of large products."""
    rates = dict(float32=settings.measure_rate(torch.float32))
    if settings.gpu and torch.cuda.get_device_capability(settings.device) >= (8, 0):
        rates['TF32'] = settings.measure_rate(torch.float32, tf32=True)
    if settings.half:
        rates['bfloat16'] = settings.measure_rate(torch.bfloat16)
    return rates


def measure_case(case: Case, settings: Settings, report: Report, rate: float, memory: float) -> None:
    """Time the contenders of a case, and the memory of dtbox's search on a GPU."""
    z = torch.randn(1, case.count, case.dim, generator=torch.Generator().manual_seed(0)).to(settings.device)
    there = importlib.util.find_spec('vector_quantize_pytorch') is not None
    calls, left_out = prepare_contenders(case, z, memory, PEERS if there else PEERS[1:])
    if not there:
        left_out[PEERS[0]] = 'it is not installed'
    times = settings.time(calls, 0.5, rounds=5)
    seconds = take_medians(times)['dtbox']
    report.measure(f'{case}', 1000 * seconds, 'ms',
                   f'{100 * case.flops / seconds / rate:.0f} % of the float32 rate')
    for peer in times:
        if peer != 'dtbox':
            report.measure(f'    {peer} over dtbox', compare_in_turn(times, peer, 'dtbox'), 'x')
    for peer, why in left_out.items():
        report.skip(f'    {peer}', why)
    if settings.gpu:
        torch.cuda.synchronize(settings.device)
        before = torch.cuda.memory_allocated(settings.device)
        torch.cuda.reset_peak_memory_stats(settings.device)
        calls['dtbox']()
        torch.cuda.synchronize(settings.device)
        report.measure('    memory of dtbox beyond its inputs',
                       (torch.cuda.max_memory_allocated(settings.device) - before) / 1e6, 'MB')
