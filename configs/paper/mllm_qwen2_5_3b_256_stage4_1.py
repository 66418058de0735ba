"""Stage 4-1 of DualToken's multimodal language model: all but the tokenizer learns, understanding and drawing together.

Paper: DualToken, arXiv 2503.14324, appendix. Its sets of stage 4 (which of them 4-1 and 4-2 have is not published):
Cauldron and instructions of its own (questions.jsonl), pure text (text.jsonl), its own aesthetic images and text2face
(draw.jsonl), OmniEdit and InstructPix2Pix (edit.jsonl), OBELICS (interleaved.jsonl).

Command, on 8 GPUs, after stage 3:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/mllm_qwen2_5_3b_256_stage4_1.py --launcher pytorch \\
        --cfg-options tokenizer=PATH/dualtoken_so400m_256_rq4 qwen=PATH/Qwen2.5-3B data_root=PATH/conversations
"""
_base_ = ['./mllm_qwen2_5_3b_256.py']

load_from = 'work_dirs/mllm_qwen2_5_3b_256_stage3'
train_dataloader = dict(dataset=dict(datasets=dict(captions=None, documents=None)))
tiny = dict(load_from=None)
