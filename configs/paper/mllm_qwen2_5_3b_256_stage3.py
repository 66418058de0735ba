"""Stage 3 of DualToken's multimodal language model: visual heads learn to draw; the language model is frozen.

Paper: DualToken, arXiv 2503.14324, appendix. Its sets, for draw.jsonl: filtered ImageNet-21K, laion-aesthetics-12m,
JourneyDB.

Command, on 8 GPUs, after stage 2:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/mllm_qwen2_5_3b_256_stage3.py --launcher pytorch \\
        --cfg-options tokenizer=PATH/dualtoken_so400m_256_rq4 qwen=PATH/Qwen2.5-3B data_root=PATH/conversations
"""
_base_ = ['./mllm_qwen2_5_3b_256.py']

load_from = 'work_dirs/mllm_qwen2_5_3b_256_stage2'
batch_size = 128  # paper
max_iters = 200000  # ours: 25.6 M samples
train_dataloader = dict(dataset=dict(datasets=dict(
    captions=None, documents=None, questions=None, text=None, edit=None, interleaved=None)))
val_dataloader = dict(dataset=dict(datasets=dict(questions=None)))
val_evaluator = dict(answers=None)
optim_wrapper = dict(model=dict(
    optimizer=dict(lr=1e-4),  # paper
    # paper: heads and their projectors (hidden_in, code_in), the language model frozen; ours: the projector of images
    # is frozen, too, and the rows of the image tokens learn (lm.special)
    freeze=['lm.model.*', 'visual_embedding.*']))
tiny = dict(load_from=None)
