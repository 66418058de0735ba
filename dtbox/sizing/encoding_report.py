"""Plans of `encoding` as text and files: two tables, what they assume, a CSV file."""
from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

from dtbox.counts import format_count
from dtbox.markup import escape_markdown
from dtbox.sizing.encoding import LIST_PAGE, LIST_SECONDS, Files, Plan, Rates, list_limits
from dtbox.sizing.encoding_rates import ROWS, Measured
from dtbox.sizing.scale_report import align_columns, format_markdown

UNITS = ('B', 'kB', 'MB', 'GB', 'TB', 'PB')
TIMES = ((86400.0, 'days'), (3600.0, 'h'), (60.0, 'min'), (1.0, 's'))


def format_bytes(size: float) -> str:
    """Return bytes in the unit that fits, powers of 1,000: '25.7 MB'."""
    unit = 0
    while size >= 999.5 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f'{size:.3g} {UNITS[unit]}'


def format_seconds(seconds: float) -> str:
    """Return seconds in the unit that fits: '3.4 h'; from 1,000 days on they are rounded."""
    length, unit = next(((length, unit) for length, unit in TIMES if seconds >= length), TIMES[-1])
    value = seconds / length
    return f'{value:,.0f} {unit}' if value >= 1000 else f'{value:.3g} {unit}'


def make_plan_table(plans: Sequence[Plan], gpu: bool, priced: bool) -> list[list[str]]:
    """Return plans as a list of lists of texts, the head first."""
    lines = [['images', 'GPUs' if gpu else 'cores', 'images/s', 'time', 'disk', 'files', 'reads', 'lost at a kill',
              *(['cost'] if priced else [])]]
    for plan in plans:
        idle = '' if plan.busy == plan.workers else f' ({plan.busy:,} busy)'
        lines.append([f'{plan.images:,}', f'{plan.workers:,}{idle}', f'{plan.rate:,.0f}', format_seconds(plan.seconds),
                      format_bytes(plan.bytes), f'{plan.files:,}', f'{format_bytes(plan.read_rate)}/s',
                      format_seconds(plan.lost), *([f'{plan.cost:,.0f}'] if plan.cost is not None else [])])
    return lines


def make_limit_table(images: Sequence[int], files: Files) -> list[list[str]]:
    """Return what grows with the number of files, and what breaks first: lists of texts, the head first."""
    limits = list_limits(files)
    lines = [['images', 'files', 'file size', 'look at all', 'LIST requests', 'MANIFEST.json', 'levels of folders',
              'images a file for one folder', 'breaks first']]
    for number in images:
        count = files.count(number)
        broken = next((limit.name for limit in limits if limit.files < count), 'nothing')
        requests = -(-count // LIST_PAGE)
        lines.append([f'{number:,}', f'{count:,}', format_bytes(files.size(number) / count),
                      format_seconds(files.look_seconds(count)),
                      f'{requests:,} ({format_seconds(requests * LIST_SECONDS)})',
                      format_bytes(count * files.manifest_bytes), str(files.levels(count)),
                      f'{max(files.shard_images, -(-number // files.most)):,}', broken])
    return lines


def list_assumptions(rates: Rates, files: Files, measured: Measured, efficiency: float, price: float | None,
                     batch: int) -> list[str]:
    """Return the assumptions of a plan as sentences."""
    who = (f'A worker is a GPU with {format_count(rates.cores, "core")}, which decode and write while it computes'
           if rates.cores else 'A worker is one core, which decodes, computes and writes in turn')
    told = [f'{name} {rate:,.0f} ({"given" if known is None else "measured here"})' for name, rate, known in (
        ('decode', rates.decode, measured.decode), ('model', rates.model, measured.model),
        ('write', rates.write, measured.write))]
    device = f'Device: {measured.device}, batches of {batch}. ' if measured.device else ''
    price_told = 'no price (--cost-per-hour)' if price is None else (
        f'{price:g} for each worker and hour, until the job ends')
    return [
        f'{who}: {rates.worker:,.1f} images/s alone, most of the time for: {rates.bottleneck}. '
        f'{100 * efficiency:g} % of that among others (--efficiency).',
        f'Images/s of one core, and of one device for the model: {", ".join(told)}. {device}Decoded: '
        f'{measured.images}, {format_bytes(files.image_bytes)} a file on average.',
        f'Disk: {files.row_bytes:,.0f} bytes an image, {format_bytes(files.shard_bytes)} a file, measured by a shard '
        f'of {ROWS:,} images with codes drawn uniformly and a caption of 40 characters: codes of images repeat, and '
        'take less.',
        f'Files: {format_count(files.shard_images, "image")} each (--shard-images); {1e6 * files.name_seconds:.3g} us '
        f'to list one and {1e6 * files.footer_seconds:.3g} us to look at its footer, measured on this disk. '
        f'{files.manifest_bytes:,.0f} bytes of MANIFEST.json.',
        'Reads: what all workers read of image files together. The storage must give that; it is not a limit of this '
        'plan.',
        f'Cost: {price_told}. Storage, transfers and requests are not counted.',
        'Not counted: start of the workers, waiting for a queue, failures. A worker that is killed repeats its shard: '
        '"lost at a kill" at most.',
        'More than one level: cut the data set into parts of at most '
        f'{format_count(files.most, "file")}, and encode each into a folder of its own (OUT/000, OUT/001, ...), or put '
        'more images into a file.',
        *(f'{limit.name}: from {format_count(round(limit.files), "file")} on. {limit.why[:1].upper()}{limit.why[1:]}'
          for limit in list_limits(files))]


def format_csv(plans: Sequence[Plan], files: Files) -> str:
    """Return plans as CSV in seconds and bytes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(['images', 'workers', 'busy', 'images_per_s', 'seconds', 'days', 'bytes', 'files', 'levels',
                     'read_bytes_per_s', 'lost_s', 'cost'])
    for plan in plans:
        writer.writerow([plan.images, plan.workers, plan.busy, f'{plan.rate:.6g}', f'{plan.seconds:.6g}',
                         f'{plan.days:.6g}', round(plan.bytes), plan.files, files.levels(plan.files),
                         f'{plan.read_rate:.6g}', f'{plan.lost:.6g}', '' if plan.cost is None else f'{plan.cost:.6g}'])
    return out.getvalue()


def report_plans(name: str, plans: Sequence[Plan], files: Files, assumptions: Sequence[str], gpu: bool,
                 out: str | None = None) -> str:
    """Return plans as text.

    Args:
        name: of the tokenizer, for the title.
        plans: one or more.
        files: how images and codes lie on disks.
        assumptions: of `list_assumptions`.
        gpu: whether workers are GPUs.
        out: folder for encode.md and encode.csv; None writes nothing.
    """
    title = f'Tokenize a data set with {name}'
    images = sorted({plan.images for plan in plans})
    tables = [make_plan_table(plans, gpu, plans[0].cost is not None), make_limit_table(images, files)]
    listed = '\n'.join(f'- {sentence}' for sentence in assumptions)
    if out:
        from dtbox.files import write_atomic
        os.makedirs(out, exist_ok=True)
        page = [f'# {escape_markdown(title)}', *map(format_markdown, tables), listed]
        write_atomic(os.path.join(out, 'encode.md'), '\n\n'.join(page) + '\n')
        write_atomic(os.path.join(out, 'encode.csv'), format_csv(plans, files))
    return '\n\n'.join([title, *map(align_columns, tables), listed])


