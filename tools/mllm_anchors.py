"""Print what scores of a multimodal language model are compared with, measured with a run of it or of its tokenizer:

    python tools/mllm_anchors.py work_dirs/mllm_twemoji > work_dirs/mllm_twemoji/anchors.json

The report of a run shows the anchors.json in its folder beside its scores.
"""
from __future__ import annotations

import argparse
import json

from dtbox.apis.mllm_anchors import HELDOUT, measure_run_anchors

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', help='run folder of a multimodal language model, or of its tokenizer')
    parser.add_argument('--checkpoint', help='checkpoint file; by default that of the folder')
    parser.add_argument('--split', default=HELDOUT['split'], help='held-out set of emoji (%(default)s)')
    args = parser.parse_args()
    found = measure_run_anchors(args.run, args.checkpoint, dict(HELDOUT, split=args.split))
    print(json.dumps(dict(set=args.split, **found), indent=1))
