"""Stage 1 of DualToken's multimodal language model: the projector learns from captions; the language model is frozen.

Paper: DualToken, arXiv 2503.14324, appendix. Its sets, for captions.jsonl: DenseFusion-1M, DreamLIP,
InternVL-SA-1B-Caption.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/mllm_qwen2_5_3b_256_stage1.py --launcher pytorch \\
        --cfg-options tokenizer=PATH/dualtoken_so400m_256_rq4 qwen=PATH/Qwen2.5-3B data_root=PATH/conversations
"""
_base_ = ['./mllm_qwen2_5_3b_256.py']

batch_size = 64  # paper
max_iters = 20000  # ours: 1.28 M samples
train_dataloader = dict(dataset=dict(datasets=dict(
    documents=None, questions=None, text=None, draw=None, edit=None, interleaved=None)))
val_dataloader = dict(dataset=dict(datasets=dict(draw=None)))
val_evaluator = dict(nats=None)
optim_wrapper = dict(model=dict(
    optimizer=dict(lr=1e-3),  # paper
    # paper: the projector alone; ours: the rows of the image tokens, which are new, as well (lm.special)
    freeze=['lm.model.*', 'visual_head.*']))
