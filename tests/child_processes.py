"""Child processes of tests: they end with the process that runs the test, also when that is killed."""
import os
import subprocess

from dtbox.processes import end_with_parent


def start_child(command, **options):
    """Start a command as `subprocess.Popen` does; returns it. A killed test leaves no child behind (Linux)."""
    parent = os.getpid()
    return subprocess.Popen(command, preexec_fn=lambda: end_with_parent(parent), **options)


def run_child(command, **options):
    """Run a command to its end with its output as text; returns subprocess.CompletedProcess."""
    parent = os.getpid()
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: end_with_parent(parent),
                          **options)


def is_running(pid):
    """Whether a process runs (Linux): it exists, and has not ended with nobody to notice."""
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False
