"""A Llama of 4 blocks, trained from nothing on codes: what the embedded language models share beside `mllm.py`."""
_base_ = ['./mllm.py']

model = dict(
    lm=dict(type='HFCausalLM', config=dict(
        model_type='llama', hidden_size=192, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=6,
        intermediate_size=512, max_position_embeddings=256, tie_word_embeddings=True)),
    visual_embedding=dict(type='CodesEmbedding'),
    visual_head=dict(type='DepthHead', inner=128, blocks=2, heads=4),
    sequence=dict(template=dict(type='PlainTemplate'), drop=0.03),
    keep_share=0.5)
optim_wrapper = dict(model=dict(
    optimizer=dict(type='MuonAdamW', lr=5e-3, betas=(0.9, 0.95), weight_decay=0.2, steps=4)))
