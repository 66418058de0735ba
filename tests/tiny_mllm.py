"""A multimodal language model so small that a test trains it in a second: one block of width 32 on the codes of
`tiny_run`, which it finds as a folder of `save_pretrained`."""
import pytest

from tests.tiny_run import train

CONFIG = '''
model = dict(
    type='MLLMTask', tokenizer=dict(type='TrainedTokenizer', source={tokenizer!r}),
    lm=dict(type='HFCausalLM', config=dict(
        model_type='llama', hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=96, tie_word_embeddings=True)),
    visual_embedding=dict(type='CodesEmbedding'), visual_head=dict(type='DepthHead', inner=32, blocks=1, heads=2),
    sequence=dict(tokenizer=dict(type='TrainedBPE', size=300, texts=['red apple', 'what is it?', 'a face', 'yes']),
                  template=dict(type='PlainTemplate'), drop=0.1),
    evaluation=dict(scales=[2.0], sampling=dict(temperature=0.7), max_tokens=6))
train_dataloader = dict(batch_size=4, last='carry', dataset=dict(type='Mixture', datasets=dict(
    draw=dict(type='TwemojiDraw', size=32, limit=8), talk=dict(type='TwemojiTalk', size=32, limit=8))))
val_dataloader = dict(batch_size=4, dataset=dict(type='Mixture', separate_sets=True, datasets=dict(
    draw=dict(type='TwemojiDraw', split='variants', size=32, limit=2),
    talk=dict(type='TwemojiTalk', split='variants', size=32, limit=2))))
val_evaluator = dict(captions=dict(type='CaptionScore'), nats=dict(type='CodeLikelihood'))
optim_wrapper = dict(model=dict(optimizer=dict(type='AdamW', lr=1e-3)))
param_scheduler = dict(model=dict(type='WarmupCosineLR', total=2))
train_cfg = dict(max_iters=2)
hooks = dict(log=dict(type='Log', interval=1), checkpoint=dict(type='Checkpoint', interval=2))
seed = 0
'''


def write_mllm_config(folder, tokenizer, name='mllm.py'):
    """Write the config for the codes of a tokenizer's run or folder; returns its path."""
    path = folder / name
    path.write_text(CONFIG.format(tokenizer=str(tokenizer)))
    return path


@pytest.fixture(scope='session')
def mllm_run(tiny_run, tmp_path_factory):
    """The run folder of the tiny model, after two iterations; not to be changed."""
    import dtbox
    folder = tmp_path_factory.mktemp('mllm')
    dtbox.load(tiny_run).save_pretrained(folder / 'tokenizer')
    train(write_mllm_config(folder, folder / 'tokenizer'), folder / 'run')
    return folder / 'run'


@pytest.fixture(scope='session')
def mllm(mllm_run):
    """The model of `mllm_run`, as dtbox.load opens it."""
    import dtbox
    return dtbox.load(mllm_run)
