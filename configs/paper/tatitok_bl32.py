"""TA-TiTok-BL-32 with codes: 32 tokens of 8,192 codes; the tokens of a caption guide the decoder; 256 pixels.

Paper: TA-TiTok, arXiv 2501.07730. "The release" below is bytedance/1d-tokenizer, configs/training/TA-TiTok/
tatitok_bl32_vq.yaml; what is not here is that of `titok_bl64.py`, which has the same values, with its deviations.
Data: pairs (the paper has captions of open data, the release names DataComp); no filter by size and ratio of the sides
(release: res_ratio_filtering). Evaluation reads the captions of its shards (release: ImageNet with "A photo of a
CLASS."). Published rFID on ImageNet, in README_MaskGen.md of the release: 3.95.
Encoder, quantizer and decoder equal the release's with its weights (`dtbox convert titok --clip`).

Command, on 8 GPUs:

    torchrun --nproc_per_node 8 tools/train.py configs/paper/tatitok_bl32.py --launcher pytorch \\
        --cfg-options lpips=PATH/vgg16-397923af.pth clip=PATH/ViT-L-14-336px.pt \\
        'shards=PATH/{00000..}.tar' heldout=PATH/heldout.tar
"""
_base_ = ['./titok_bl64.py', '../_base_/datasets/cc12m.py']

clip = 'hub:openai'  # release: create_clip_model of train_utils.py
batch_size = 32  # a GPU (release: per_gpu_batch_size)
num_workers = 12  # release: num_workers_per_gpu
train_dataloader = dict(dataset=dict(pipeline='${train_pipeline}'))  # as titok_bl64
val_dataloader = dict(dataset=dict(pipeline='${val_pipeline}'))

model = dict(tokenizer=dict(
    encoders=dict(trunk=dict(latents=32)),  # release: num_latent_tokens
    decoder=dict(guidance=dict(length=77, width=768)),  # release: the tokens of CLIP's text tower
    # release: ViT-L-14-336 of OpenAI, its tokens after ln_final
    text=dict(type='OpenCLIPText', name='ViT-L-14-336-quickgelu', weights='${clip}',
              tokenizer=dict(type='OpenCLIPTokenizer', context_length=77))))
optim_wrapper = dict(generator=dict(freeze=['text.*']))  # release: no gradients for CLIP
tiny = dict(clip=None, model=dict(tokenizer=dict(
    decoder=dict(guidance=dict(length=7, width=64)),
    text=dict(text_cfg=dict(context_length=7, width=64, heads=2, layers=1), tokenizer=dict(context_length=7)))))
