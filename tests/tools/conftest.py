"""The benchmarks import modules beside them, as scripts do; the tests import them as `tools.benchmarks.NAME`."""
import os
import sys

from dtbox.packaged import packaged_folder

sys.path.append(os.path.join(packaged_folder('tools'), 'benchmarks'))  # at the end: `data` or `step` of others go first
