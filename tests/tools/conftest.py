"""The benchmarks import modules beside them, as scripts do; the tests import them as `tools.benchmarks.NAME`."""
import os
import sys

from dtbox.packaged import find_packaged_folder

# at the end: `data` or `step` of others go first
sys.path.append(os.path.join(find_packaged_folder('tools'), 'benchmarks'))
