"""DualToken's multimodal language model at the size of its paper: Qwen2.5-3B on 256 tokens of 4 + 4 codes an image.

What its stages share; as it stands, the whole of it trains at once. Each stage starts from the run before it:

| stage | trains | rate | batch |
|---|---|---|---|
| mllm_qwen2_5_3b_256_stage1 | projector | 1e-3 | 64 |
| mllm_qwen2_5_3b_256_stage2 | projector, language model | 2e-5 | 256 |
| mllm_qwen2_5_3b_256_stage3 | visual heads | 1e-4 | 128 |
| mllm_qwen2_5_3b_256_stage4_1, ..._stage4_2 | all | 1e-5 | 512, 256 |

Paper: DualToken, arXiv 2503.14324, section 3.3 and appendix. There is no published code of this part.
Published: POPE 86.0, MMBench 70.9, SEED 70.2, MME-P 1489.2; GenEval 0.72, MJHQ FID 7.88. Built, described and stepped
at a small size here; never trained: that takes GPUs. `dtbox describe paper/mllm_qwen2_5_3b_256_stage2 --gpus 8` counts
parameters, FLOPs, and the memory of a GPU in a stage.

The tokenizer is the published one of 2026-04 (`dtbox convert dualtoken`), whose rows are 32 wide; the paper's 256-pixel
model had one of SigLIP-L, rows 1,024 wide. Width of the heads, length, warm-up, mixing and sampling are not published.

Data: conversation files in `data_root` (captions.jsonl to heldout_draw.jsonl, see below), of your own or
made of the sets that the stages name; formats: dtbox/mllm/README.md.

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/mllm_qwen2_5_3b_256.py --launcher pytorch \\
        --cfg-options tokenizer=PATH/dualtoken_so400m_256_rq4 qwen=PATH/Qwen2.5-3B data_root=PATH/conversations
"""
tokenizer = 'paper/dualtoken_so400m_256_rq4'  # to train: the folder of `dtbox convert dualtoken`
qwen = 'Qwen/Qwen2.5-3B'  # or its local folder; model.lm.pretrained=none: random weights of its sizes
data_root = None  # folder of the files below and their images
tokens = None  # folder of token shards of the images: training reads their codes, and no image
codes = 'work_dirs/codes'  # keeps the codes of images: 4 KB each
image_size = 256  # paper
batch_size = 512  # of all ranks; paper: stage 4-1
max_iters = 40000  # ours: 20 M samples
num_workers = 8  # ours
heldout_limit = 500  # ours
pipeline = [dict(type='ResizeCrop', size='${image_size}'), dict(type='PackImage')]

model = dict(
    type='MLLMTask',
    tokenizer=dict(type='TrainedTokenizer', source='${tokenizer}'), cache='${codes}',
    lm=dict(
        type='HFCausalLM', pretrained='${qwen}', recompute=True,  # recomputation: ours
        # release: config.json of Qwen2.5-3B
        config=dict(model_type='qwen2', vocab_size=151936, hidden_size=2048, intermediate_size=11008,
                    num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2, hidden_act='silu',
                    max_position_embeddings=32768, rope_theta=1000000.0, rms_norm_eps=1e-6, tie_word_embeddings=True)),
    visual_embedding=dict(type='CodesEmbedding'),  # paper: concatenated, then two layers of the language model's width
    visual_head=dict(
        type='DepthHead', order='independent', blocks=3,  # paper: appendix
        # ours: blocks and classifiers of this width have the 258 M of the paper's additional visual head
        inner=1920, heads=15, recompute=True),
    sequence=dict(
        tokenizer=dict(type='PretrainedTokenizer', path='${qwen}'),
        template=dict(type='ChatTemplate', prompts=dict(draw='{} Generate an image based on this description.')),
        drop=0.1, pack=4096),  # ours: rate of dropped prompts and wording as UniTok's release; rows of 4,096 places
    reduction='sum',  # paper: section 3.3, the sum of all log-probabilities
    micro_batch=8,  # ours
    evaluation=dict(scales=[3.0], closed_loop=False))  # paper: a guidance of 3, in a line that is commented out

train_dataloader = dict(
    global_batch_size='${batch_size}', num_workers='${num_workers}', last='carry',
    # equal parts of a batch: the paper does not say
    dataset=dict(type='Mixture', datasets=dict(
        captions=dict(type='ConversationFiles', data_root='${data_root}', file='captions.jsonl', broken='skip',
                      tokens='${tokens}', pipeline='${pipeline}'),
        documents=dict(type='ConversationFiles', data_root='${data_root}', file='documents.jsonl', broken='skip',
                       tokens='${tokens}', pipeline='${pipeline}'),
        questions=dict(type='ConversationFiles', data_root='${data_root}', file='questions.jsonl', broken='skip',
                       tokens='${tokens}', pipeline='${pipeline}'),
        text=dict(type='ConversationFiles', data_root='${data_root}', file='text.jsonl', broken='skip',
                  tokens='${tokens}', pipeline='${pipeline}'),
        draw=dict(type='ConversationFiles', data_root='${data_root}', file='draw.jsonl', broken='skip',
                  tokens='${tokens}', pipeline='${pipeline}'),
        edit=dict(type='ConversationFiles', data_root='${data_root}', file='edit.jsonl', broken='skip',
                  tokens='${tokens}', pipeline='${pipeline}'),
        interleaved=dict(type='ConversationFiles', data_root='${data_root}', file='interleaved.jsonl', broken='skip',
                         tokens='${tokens}', pipeline='${pipeline}'))))
val_dataloader = dict(
    batch_size=16, num_workers='${num_workers}',  # ours
    dataset=dict(type='Mixture', separate_sets=True, datasets=dict(  # ours
        questions=dict(type='ConversationFiles', data_root='${data_root}', file='heldout_questions.jsonl',
                       split='heldout', limit='${heldout_limit}', pipeline='${pipeline}'),
        draw=dict(type='ConversationFiles', data_root='${data_root}', file='heldout_draw.jsonl', split='heldout',
                  limit='${heldout_limit}', pipeline='${pipeline}'))))
val_evaluator = dict(answers=dict(type='AnswerAccuracy'), nats=dict(type='CodeLikelihood'))

optim_wrapper = dict(model=dict(
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.95), weight_decay=0.0),  # paper: AdamW, rate of 4-1; else ours
    clip_grad=dict(max_norm=1.0)))  # ours
param_scheduler = dict(model=dict(type='WarmupCosineLR', total='${max_iters}', warmup=0.03))  # ours: as VILA-U
train_cfg = dict(max_iters='${max_iters}', val_interval=5000, tolerate=10)  # ours
model_wrapper_cfg = dict(type='FSDP2')
amp = 'bfloat16'  # ours
hooks = dict(  # ours: intervals
    log=dict(type='Log', interval=100, show=('text', 'pixel')),
    checkpoint=dict(type='Checkpoint', interval=2000),
    results=dict(type='Results'),
    images=dict(type='Images', interval=0),  # curves of the losses
    sheets=dict(type='ConversationSheets', interval=10000))
seed = 0  # ours
tiny = dict(
    tokenizer='dtbox://dualtoken-twemoji', codes=None, image_size=64, batch_size=8, max_iters=2, num_workers=0,
    heldout_limit=2, amp=None, model_wrapper_cfg=None,
    model=dict(
        lm=dict(pretrained=None, config=dict(
            _delete_=True, model_type='qwen2', hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True)),
        visual_head=dict(inner=32, heads=2),
        sequence=dict(tokenizer=dict(type='TrainedBPE', size=300, texts=['a red apple', 'what is it?', 'yes', 'no']),
                      template=dict(type='PlainTemplate'), pack=256),
        micro_batch=4, evaluation=dict(max_tokens=8)),
    train_dataloader=dict(dataset=dict(datasets=dict(
        captions=dict(type='TwemojiTalk', questions=0, limit=8), documents=dict(type='TwemojiTalk', limit=8),
        questions=dict(type='TwemojiTalk', limit=8), text=dict(type='TwemojiTalk', blank=True, limit=8),
        draw=dict(type='TwemojiDraw', limit=8), edit=dict(type='TwemojiDraw', limit=8),
        interleaved=dict(type='TwemojiTalk', limit=8)))),
    val_dataloader=dict(batch_size=4, dataset=dict(datasets=dict(
        questions=dict(type='TwemojiTalk', split='variants', limit='${heldout_limit}'),
        draw=dict(type='TwemojiDraw', split='variants', limit='${heldout_limit}')))),
    hooks=dict(sheets=dict(interval=0, count=2)))
