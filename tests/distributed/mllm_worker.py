"""What ranks that share a multimodal language model do. Imported by fresh processes, so nothing of pytest here."""
import torch

from dtbox.errors import Diverged
from dtbox.training.mllm_evaluation import predict
from dtbox.training.parallel import FSDP2, gather_shards
from tests import mllm_kit as kit

SHARES = (([0, 1], [2, 3, 4, 5]), ([0, 1, 2, 3, 4], [5]), ([5, 3], [0, 1, 2, 4]), ([0, 1, 2, 3, 4, 5], []))
"""Of six conversations, those of rank 0 and of rank 1, step by step: drawings, texts, or nothing on one of them."""
LORA = dict(r=2, lora_alpha=4, target_modules=['q_proj', 'down_proj'])
WAYS = {'all of it': dict(), 'adapters, recomputed, packed': dict(lora=LORA, recompute=True, pack=160)}
"""Name -> how the model is built."""


def make_task(words, lora=None, recompute=False, pack=None, **options):
    """Return (task, optimizers) of a tiny model with special rows."""
    parts = kit.model_config(words, drop=0.0, pack=pack)
    parts['lm'].update(lora=lora, recompute=recompute, config=dict(kit.LLAMA, vocab_size=kit.ORDINARY))
    parts['visual_head'] = dict(kit.DEPTH, recompute=recompute)
    torch.manual_seed(1)
    task = kit.MLLMTask(kit.make_tokenizer(), **parts, **options)
    task.init_weights()
    return task.train(), kit.make_optim(task, lr=0.1, clip_grad=dict(max_norm=1.0))


def train(rank, world, words, way):
    """Steps with each way to share six conversations, two at a time; before the last one, one of which a part is not
    finite. Returns (logs times weight of each step, state, how far each tensor has moved, why a step was refused,
    replies and nats of an evaluation by this rank alone)."""
    task, optimizers = make_task(words, **WAYS[way], micro_batch=2,
                                 evaluation=dict(max_tokens=2, closed_loop=False))
    before = {k: v.clone() for k, v in task.state_dict().items()}
    if world > 1:
        FSDP2().wrap(task, optimizers)
    rows = []
    for step, shares in enumerate(SHARES):
        talks = kit.mixed(step)
        own = kit.collate([talks[i] for i in (range(6) if world == 1 else shares[rank])])
        if step == 3:
            refused = break_step(task, optimizers, own, rank == world - 1)
        logs = task.train_step(own, optimizers)
        rows.append({k: float(v) * task.batch_weight / world for k, v in logs.items()})
    said = None
    with task.whole(), torch.no_grad():
        if rank == 0:  # the other one waits
            out = predict(task.eval(), kit.collate(kit.mixed()[:3]))
            said = [[r.reply for r in replies] for replies in out.replies], out.nats
            task.train()
    task.train_step(own, optimizers)
    state = gather_shards(dict(task.state_dict()))
    moved = {k: float((v - before[k]).abs().max()) for k, v in state.items() if v.is_floating_point()}
    return rows, state, moved, refused, said


def break_step(task, optimizers, own, broken):
    """A step whose second forward pass gives NaN where `broken`; returns why it was refused."""
    count = []

    def spoil(module, args, output):
        count.append(1)
        return {k: v * float('nan') for k, v in output.items()} if broken and len(count) == 2 else output
    handle = task.model.register_forward_hook(spoil)
    try:
        task.train_step(own, optimizers)
    except Diverged as e:
        return str(e)
    finally:
        handle.remove()
    return ''
