"""Stage 2 of DualToken's multimodal language model: projector and language model learn to understand images.

Paper: DualToken, arXiv 2503.14324, appendix. Its sets: WuKong (captions.jsonl), DocStruct4M and WebSight
(documents.jsonl), 2 M questions of its own (questions.jsonl), pure text (text.jsonl).

Command, on 8 GPUs, after stage 1:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/mllm_qwen2_5_3b_256_stage2.py --launcher pytorch \\
        --cfg-options tokenizer=PATH/dualtoken_so400m_256_rq4 qwen=PATH/Qwen2.5-3B data_root=PATH/conversations
"""
_base_ = ['./mllm_qwen2_5_3b_256.py']

load_from = 'work_dirs/mllm_qwen2_5_3b_256_stage1'
batch_size = 256  # paper
max_iters = 40000  # ours: 10 M samples
train_dataloader = dict(dataset=dict(datasets=dict(draw=None, edit=None, interleaved=None)))
val_dataloader = dict(dataset=dict(datasets=dict(draw=None)))
val_evaluator = dict(nats=None)
optim_wrapper = dict(model=dict(
    optimizer=dict(lr=2e-5),  # paper: of both
    freeze=['visual_head.*']))
tiny = dict(load_from=None)
