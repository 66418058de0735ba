"""Values that are typed: KEY=VALUE pairs of a command line."""
import ast
import os

from dtbox.errors import InputError


def parse_options(pairs):
    """Read `--cfg-options`: ['a.b=1', 'c=dict(type=\'X\', n=2)', 'd=x,y'] -> dict key -> value.

    A value is a Python literal, `dict(...)` allowed; `x,y` is a list, as MMEngine has it; anything else is a string.
    """
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not equals or not key:
            raise InputError(f'`{pair}` is no override; expected KEY=VALUE, such as train_cfg.max_iters=100.', '--cfg-options')
        options[key.strip()] = parse_value(text.strip())
    return options


def parse_value(text):
    """Read one value (see `parse_options`)."""
    try:
        value = _literal(ast.parse(text, mode='eval').body)
        return list(value) if isinstance(value, tuple) and not text.startswith('(') else value
    except (SyntaxError, ValueError):
        pass
    if os.path.exists(text):
        return text
    if text.startswith(('dict(', '[', '{', '(')):
        raise InputError(f'the value `{text}` is no Python literal. Quote it in the shell: \'key=dict(type="X", n=[1, 2])\'.', '--cfg-options')
    if ',' in text:
        return [parse_value(part) for part in text.split(',')]
    return {'true': True, 'false': False, 'none': None, 'null': None}.get(text.lower(), text)


def _literal(node):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {k.arg: _literal(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(e) for e in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)
