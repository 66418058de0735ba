"""Results for the eye, one plain-text table, and for programs, one JSON file."""
import json
import math
import os
import re
import tempfile
import textwrap

from dtbox.errors import InputError

_LABEL, _COLUMN, _SETS = 26, 24, 3  # 26 + 3 * 24 = 98 characters
_NUMBERS = {
    'psnr': ('PSNR [dB]', '.2f'),
    'ssim': ('SSIM', '.4f'),
    'l1': ('L1 in [-1, 1]', '.4f'),
    'frechet_teacher': ('Frechet, teacher space', '.4g'),
    'token_cosine': ('token cosine', '.4f'),
    'token_mse': ('token squared error', '.4g'),
    'pooled_cosine': ('pooled cosine', '.4f'),
    'usage': ('used', '.1%'),
    'perplexity': ('perplexity', '.1f'),
    'dead': ('dead', '.0f'),
    'kept': ('mean R@1 kept by tokens', '.1%'),
    'video_psnr': ('PSNR of frames [dB]', '.2f'),
    'frame_pairs': ('pairs of frames', '.0f'),
    'change/source': ('change of the source', '.4f'),
    'change/made': ('change of what is made', '.4f'),
    'flicker': ('flicker', '.4f'),
}
_GROUPS = {
    'region_psnr': ('PSNR [dB], {}', '.2f'), 'region_l1': ('L1, {}', '.4f'), 'region_count': ('masks, {}', '.0f'),
    'region_top1': ('category top-1, {}', '.1%'), 'churn': ('codes changed, {}', '.1%'),
    'psnr': ('PSNR [dB], {}', '.2f'), 'ssim': ('SSIM, {}', '.4f'), 'seconds': ('seconds, {}', '.3g'), 'peak_mb': ('peak memory [MB], {}', ',.0f')}
"""Names before a slash: what stands behind it is a part of the pictures, a vocabulary, a size."""
_FAMILIES = {'t2i_r': 'text to image R@', 'i2t_r': 'image to text R@', 'zeroshot_top': 'zero-shot top-', 'knn_top': 'k-NN top-',
             'linear_top': 'linear probe top-'}
_CODES = {'usage': 'codes in use', 'perplexity': 'perplexity', 'dead': 'dead codes'}
_USE = tuple(_CODES)
_LESS = {'l1', 'l2', 'mse', 'rmse', 'mae', 'error', 'loss', 'nll', 'distance', 'frechet', 'fid', 'rfid', 'kid', 'lpips', 'dists'}


def format_table(results):
    """Return the results as text of at most 99 characters a line.

    Args:
        results: what `SetEvaluator.results` returned (or the JSON of it). Rows are values, columns are sets, at most three side by
            side; teacher and tokens stand next to each other; code usage follows for all pictures, by vocabulary and depth.
    """
    counts = results.get('counts', {})
    sets = [k for k in counts or results if k not in ('skipped', 'counts', 'missing', 'protocols', 'evaluation', 'iteration', 'all')]
    if len(sets) != 1 and 'all' in results:
        sets.append('all')
    blocks = []
    for i in range(0, len(sets), _SETS):
        blocks += _score_block({name: results[name] for name in sets[i:i + _SETS]}, counts)
    usage = results.get('all') or (results[sets[0]] if sets else {})
    blocks += _usage_block(usage, 'all pictures' if results.get('all') else sets[0] if sets else '')
    if results.get('skipped'):
        blocks += ['not measured', *(line for k, v in results['skipped'].items() for line in _wrap(f'{k}: {v}')), '']
    if results.get('missing'):
        lost = results['missing']
        blocks += [f'INCOMPLETE: {len(lost)} samples, shards or masks could not be read', *(line for s in lost[:5] for line in _wrap(s)),
                   *([f'  and {len(lost) - 5} more'] if len(lost) > 5 else []), '']
    return '\n'.join(line.rstrip() for line in blocks).rstrip('\n')


def to_json(results, path):
    """Write results as JSON: plain types, NaN and infinity as null, never half a file.

    Args:
        results: nested dicts and lists of numbers, tensors or arrays of one number, strings.
        path: file to write or replace; its folder is made.

    Raises:
        InputError: when the path is a folder or cannot be written.
    """
    path = os.path.abspath(os.fspath(path))
    if os.path.isdir(path):
        raise InputError(f'cannot write results to {path}: it is a folder. Name a file, such as {os.path.join(path, "metrics.json")}.')
    text = json.dumps(_plain(results), indent=2, allow_nan=False) + '\n'
    temporary = None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f'.{os.path.basename(path)}.')
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp gives 0600
        os.replace(temporary, path)
    except OSError as e:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise InputError(f'cannot write results to {path}: {e.strerror or e}. Check the folder and its permissions.') from e


def _score_block(columns, counts):
    names = list(dict.fromkeys(k for values in columns.values() for k in values))
    rows = list(dict.fromkeys(k.rpartition('/')[0] if _sided(k) else k for k in names
                              if not _usage(k) and not k.endswith('/stderr')))
    double = [k for k in rows if k not in names or k == 'kept']
    single = [k for k in rows if k not in double]
    lines = [' ' * _LABEL + ''.join(f'{name[-_COLUMN + 2:]:>{_COLUMN}}' for name in columns)]
    if counts:
        lines.append(f'{"pictures":<{_LABEL}}' + ''.join(f'{counts.get(name, 0):>{_COLUMN}}' for name in columns))
    for key in single:
        cells = (_number(key, values.get(key), values.get(f'{key}/stderr')) for values in columns.values())
        lines.append(_label(key) + ''.join(f'{cell:>{_COLUMN}}' for cell in cells))
    if double:
        half = _COLUMN // 2
        lines += ['', ' ' * _LABEL + f'{"teacher":>{half}}{"tokens":>{half}}' * len(columns)]
        for key in double:
            sides = ('', key) if key == 'kept' else (f'{key}/teacher', f'{key}/tokens')
            cells = (_number(key, values.get(k)) if k else '' for values in columns.values() for k in sides)
            lines.append(_label(key) + ''.join(f'{cell:>{half}}' for cell in cells))
    return [*lines, '']


def _usage_block(values, title):
    rows = [k.partition('/')[2] for k in values if k.startswith('usage/')]
    if not rows:
        return []
    lines = [f'{f"codes of {title}"[:_LABEL]:<{_LABEL}}{"used":>12}{"perplexity":>12}{"dead":>12}']
    for row in rows:
        name, _, depth = row.rpartition('/depth')
        if name and f'usage/{name}/depth1' not in values:
            continue  # a single depth says the same as the vocabulary
        label = f'  depth {depth}' if name else row
        cells = (_number(k, values.get(f'{k}/{row}')) for k in _USE)
        lines.append(f'{label[:_LABEL - 1]:<{_LABEL}}' + ''.join(f'{cell:>12}' for cell in cells))
    return [*lines, '']


def _sided(key):
    return key.rpartition('/')[2] in ('teacher', 'tokens')


def _usage(key):
    return key.split('/')[0] in _USE and '/' in key


def _family(key):
    return next((f for f in _FAMILIES if key.startswith(f) and key[len(f):].isdigit()), None)


def label_of(metric):
    """Return a metric's name for people: 't2i_r1/tokens' -> 'text to image R@1, tokens'; one that is not known stays as it is."""
    key, _, side = metric.rpartition('/') if _sided(metric) else (metric, '', '')
    if _usage(key):
        what, _, where = key.partition('/')
        name, _, depth = where.rpartition('/depth')
        return f'{_CODES[what]}, {f"{name} depth {depth}" if name else where}'
    return _text(key) + (f', {side}' if side else '')


def format_of(metric):
    """Return the format specification in which a metric is shown: 'psnr' -> '.2f', 't2i_r1/tokens' -> '.1%'."""
    key = metric.rpartition('/')[0] if _sided(metric) else metric.split('/')[0] if _usage(metric) else metric
    if key in _NUMBERS or _family(key):
        return '.1%' if _family(key) else _NUMBERS[key][1]
    return _GROUPS.get(key.partition('/')[0], ('', '.4g'))[1] if '/' in key else '.4g'


def lower_is_better(metric):
    """Whether less of a metric is better: errors, distances, counts of unused codes, by the words of its name."""
    words = re.split(r'[/_]', metric.lower())
    return words[0] == 'dead' if words[0] in _USE else not _LESS.isdisjoint(words)


def _text(key):
    family, (group, _, part) = _family(key), key.partition('/')
    if part and group in _GROUPS and key not in _NUMBERS:
        return _GROUPS[group][0].format(part.replace('/', ' '))
    return _NUMBERS[key][0] if key in _NUMBERS else _FAMILIES[family] + key[len(family):] if family else key


def _label(key):
    return f'{_text(key)[:_LABEL - 1]:<{_LABEL}}'


def _number(key, value, stderr=None):
    if value is None:
        return '-'
    spec = format_of(key)
    return format(value, spec) + (f' ± {format(stderr, spec)}' if stderr is not None else '')


def _wrap(text, width=94):
    return textwrap.wrap(text, width, initial_indent='  ', subsequent_indent='    ')


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, 'item'):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
