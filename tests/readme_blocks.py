"""Code blocks and links of the READMEs. As a script it runs the commands of READMEs and shows what they print:

    python -m tests.readme_blocks README.md              # in a temporary folder; recipes at their tiny size
    python -m tests.readme_blocks README.md --full       # as written

A command that names something only its reader has (PATH, RUN, CONFIG, ...) or needs a cluster is printed and not run.
"""
from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = re.compile(r'\b[A-Z][A-Z_]{2,}(?:_OR_[A-Z]+)?\b')
"""A word in capitals stands for something of the reader's."""
ELSEWHERE = ('torchrun', 'srun', 'sbatch', 'pip', 'git', 'pytest', 'eval', 'activate-global-python-argcomplete')
"""Programs that the script prints only."""


class Block(NamedTuple):
    """A fenced code block.

    Attributes:
        file: path of the README, relative to the repository.
        line: number of its first line of code.
        language: such as 'bash' or 'python'; '' where none is named.
        text: the code.
    """
    file: str
    line: int
    language: str
    text: str


def list_readmes() -> list[str]:
    """Return the paths of all READMEs, relative to the repository, build and run folders left out."""
    found = [path.relative_to(ROOT) for path in ROOT.rglob('README.md')]
    skipped = ('work_dirs', 'build', 'dist', 'node_modules', '.mim')
    return sorted(path.as_posix() for path in found
                  if not any(part.startswith('.') or part in skipped for part in path.parts))


def read_blocks(file: str) -> list[Block]:
    """Return the fenced code blocks of a README."""
    blocks = []
    start = None
    language = ''
    lines = []
    for number, line in enumerate((ROOT / file).read_text(encoding='utf-8').splitlines(), 1):
        fence = re.match(r'\s*```(\w*)', line)
        if fence and start is None:
            start = number + 1
            language = fence[1]
            lines = []
        elif fence:
            blocks.append(Block(file, start, language, '\n'.join(lines)))
            start = None
        elif start is not None:
            lines.append(line)
    assert start is None, f'{file}:{start}: a code block has no end'
    return blocks


def read_commands(block: Block) -> list[list[str]]:
    """Return the commands of a bash block as lists of words; continued lines are joined, `a && b` are two commands."""
    commands = []
    for line in re.sub(r'\\\n\s*', ' ', block.text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars='&;|')
        lexer.commenters, lexer.whitespace_split = '#', True
        words: list[str] = []
        for word in lexer:
            if word in ('&&', ';', '|'):
                commands.append(words)
                words = []
            else:
                words.append(word)
        commands.append(words)
    return [words for words in commands if words]


def read_links(file: str) -> list[str]:
    """Return the targets of Markdown links and images of a README that are not web addresses."""
    text = re.sub(r'```.*?```', '', (ROOT / file).read_text(encoding='utf-8'), flags=re.S)
    targets = re.findall(r'\]\(([^)\s]+)\)', text)
    return [target for target in targets if not re.match(r'[a-z]+:', target)]


def read_anchors(file: str) -> set[str]:
    """Return the anchors of the headings of a README, as GitHub makes them."""
    text = re.sub(r'```.*?```', '', (ROOT / file).read_text(encoding='utf-8'), flags=re.S)
    headings = re.findall(r'^#+ +(.+?)\s*$', text, flags=re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('files', nargs='*', default=['README.md'])
    parser.add_argument('--full', action='store_true', help='train recipes at full size')
    args = parser.parse_args()
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        for name in ('configs', 'plugins', 'tools', 'tests', 'dtbox'):
            os.symlink(ROOT / name, os.path.join(folder, name))
        for file in args.files:
            for block in read_blocks(file):
                for words in read_commands(block) if block.language == 'bash' else ():
                    run(words, f'{file}:{block.line}', folder, env, args.full)


def run(words: list[str], where: str, folder: str, env: dict, full: bool) -> None:
    """Run one command of a README in a folder, or say why it is not run."""
    text = shlex.join(words)
    if words[0] in ELSEWHERE or PLACEHOLDER.search(text):
        print(f'\n## {where}: not run here\n$ {text}')
        return
    if 'train' in (words[1] if len(words) > 1 else '') and not full and '--tiny' not in words:
        words = [*words, '--tiny']
    words = [sys.executable, '-m', 'dtbox', *words[1:]] if words[0] == 'dtbox' else words
    words = [sys.executable, *words[1:]] if words[0] == 'python' else words
    print(f'\n## {where}\n$ {text}', flush=True)
    done = subprocess.run(words, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print('\n'.join(done.stdout.splitlines()[-40:]) + (f'\n(exit code {done.returncode})' if done.returncode else ''))


if __name__ == '__main__':
    main()
