"""A command whose standard streams are closed, as some daemons start it, does its work."""
import subprocess
import sys

CODE = '''
import sys
from dtbox.cli.guard import main_guard

@main_guard
def main(argv=None):
    print('to nobody', file=sys.stderr)
    print('to nobody')
    with open(argv[0], 'w') as file:
        file.write(f'{sys.stdin.read()!r} {min(file.fileno(), 3)}')

main(sys.argv[1:])
'''


def test_closed_streams(tmp_path):
    """What is printed goes nowhere, and not into the file that is opened next."""
    command = f'exec {sys.executable} -c "$0" "$1" <&- >&- 2>&-'
    done = subprocess.run(['sh', '-c', command, CODE, str(tmp_path / 'out')], timeout=60)
    assert done.returncode == 0 and (tmp_path / 'out').read_text() == "'' 3"
