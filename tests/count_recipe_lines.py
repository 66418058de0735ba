"""How many lines of config each recipe has, docstring, comments and empty lines left out, and which classes it builds.

    python -m tests.count_recipe_lines            # a row for each recipe of configs/
"""
import io
import token as kinds
import tokenize
from pathlib import Path

from dtbox.config import load_config, resolve

MOST = 40
RECIPES = sorted(Path('configs').glob('*.py'))
SILENT = {kinds.COMMENT, kinds.NL, kinds.NEWLINE, kinds.INDENT, kinds.DEDENT, kinds.ENDMARKER}
"""Tokens that make no line of config."""


def count_lines(text):
    """Count the lines of a config that hold more than a comment or a text on its own, such as the docstring."""
    lines, statement = set(), []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            statement.append(token)
        elif token.type in (kinds.NEWLINE, kinds.ENDMARKER):
            if any(part.type != kinds.STRING for part in statement):
                lines.update(line for part in statement for line in range(part.start[0], part.end[0] + 1))
            statement = []
    return len(lines)


def list_model_types(path):
    """Return the classes of task and tokenizer that a recipe names: (task, tokenizer), of the tokenizer None where it
    leaves the default."""
    model = resolve(load_config(path)).model
    return model.type, (model.get('tokenizer') or {}).get('type')


if __name__ == '__main__':
    for recipe in RECIPES:
        task, tokenizer = list_model_types(recipe)
        print(f'{recipe.stem:<24} {count_lines(recipe.read_text()):>3} lines  {task}  {tokenizer or "VisualTokenizer"}')
