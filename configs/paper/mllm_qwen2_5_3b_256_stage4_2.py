"""Stage 4-2 of DualToken's multimodal language model: stage 4-1 with a smaller batch.

Paper: DualToken, arXiv 2503.14324, appendix; the sets are those of stage 4-1.

Command, on 8 GPUs, after stage 4-1:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/mllm_qwen2_5_3b_256_stage4_2.py --launcher pytorch \\
        --cfg-options tokenizer=PATH/dualtoken_so400m_256_rq4 qwen=PATH/Qwen2.5-3B data_root=PATH/conversations
"""
_base_ = ['./mllm_qwen2_5_3b_256_stage4_1.py']

load_from = 'work_dirs/mllm_qwen2_5_3b_256_stage4_1'
batch_size = 256  # paper
max_iters = 10000  # ours: 2.6 M samples
