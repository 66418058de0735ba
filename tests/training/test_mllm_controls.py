"""Controls: a language model that is trained on names of other images draws at chance, and the prompt tells it nothing;
one that is shown blank images answers as often right as the most frequent answer.

Small models, trained for seconds; a model that is trained on the data as they are learns both.
"""
import pytest
import torch

from dtbox.evaluation import EvalContext, SetEvaluator
from tests import mllm_kit as kit
from tests.conversation_data import write_word_tokenizer

pytest.importorskip('transformers')
pytestmark = [pytest.mark.slow, pytest.mark.long]
NAMES = ('a cat', 'a dog', 'red cat', 'red dog', 'draw it', 'what')
VIEWS, HELDOUT = 4, 4
STEPS = 320
GREY = torch.full((3, 32, 32), 128, dtype=torch.uint8)


def views_of(count, seed):
    """Images [6,count,3,32,32] of the names: those of a name differ by noise, those of two names in every patch."""
    base = kit.make_images(len(NAMES), seed=5).float()[:, None]
    noise = torch.randn(len(NAMES), count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return (base + noise).clamp(0, 255).to(torch.uint8)


def make_judge(tokenizer):
    """A judge of drawings: mean colours of 4 x 4 patches, less their mean over names; a name is where the
    reconstruction of its image lies, since the decoder has random weights."""
    base = kit.make_images(len(NAMES), seed=5).float() / 127.5 - 1
    centres = pool(tokenizer.decode(tokenizer.encode(base)))
    return EvalContext(
        teacher=lambda images: pool(images) - centres.mean(0),
        embed_text=lambda texts: torch.nn.functional.normalize(
            torch.stack([centres[NAMES.index(text)] for text in texts]) - centres.mean(0)))


def pool(images):
    """Mean colours of patches: images [B,3,32,32] -> [B,48]."""
    return torch.nn.functional.avg_pool2d(images.float(), 8).flatten(1)


@pytest.fixture(scope='module')
def frozen_words(frozen, tmp_path_factory):
    return frozen, write_word_tokenizer(tmp_path_factory.mktemp('words') / 'words.json')


frozen = kit.frozen


def train_and_measure(tokenizer, words, shuffled=False, blank=False):
    """Train on drawings and questions, some of them broken on purpose; returns the scores of held-out images."""
    torch.manual_seed(0)
    names = [name for name in NAMES for _ in range(VIEWS)]
    drawn = [names[i] for i in torch.randperm(len(names), generator=torch.Generator().manual_seed(1))] \
        if shuffled else names

    def talk(images, prompts, truths):
        asked = [(truth, GREY if blank else image) for truth, image in zip(truths, images)]
        return ([kit.draw(prompt, image, f'd{i}') for i, (prompt, image) in enumerate(zip(prompts, images))],
                [kit.ask([('what is it', truth)], image, f'q{i}') for i, (truth, image) in enumerate(asked)])

    task = kit.make_task(tokenizer, words, dict(drop=0.15, hidden_size=64, intermediate_size=96),
                         evaluation=dict(scales=[1.0], seeds=4, closed_loop=False, max_tokens=6))
    optimizers, generator = kit.make_optim(task, 4e-3, 'AdamW'), torch.Generator().manual_seed(2)
    draws, asks = talk(views_of(VIEWS, 6).flatten(0, 1), drawn, names)
    for step in range(STEPS):
        chosen = torch.randperm(len(names), generator=generator)[:8].tolist()
        task.train_step(kit.collate([*(draws[i] for i in chosen), *(asks[i] for i in chosen)], epoch=step), optimizers)
    task.eval()
    truths = [name for name in NAMES for _ in range(HELDOUT)]
    scores = {}
    for part, talks in zip(('draw', 'ask'), talk(views_of(HELDOUT, 7).flatten(0, 1), truths, truths)):
        evaluator = SetEvaluator([dict(type=kind) for kind in ('DrawingScore', 'CodeLikelihood', 'AnswerAccuracy')])
        evaluator.setup(make_judge(tokenizer))
        batch = kit.collate(talks)
        evaluator.update(batch, task.predict(batch))
        scores.update(next(values for name, values in evaluator.results().sets.items() if name != 'all'))
    return scores


@pytest.fixture(scope='module')
def plain(frozen_words):
    """Scores after training on the data as they are."""
    return train_and_measure(*frozen_words)


def test_names_of_other_images_teach_nothing(plain, frozen_words):
    """R@1 falls to chance, one name of six; what the prompt saves falls to 0."""
    shuffled = train_and_measure(*frozen_words, shuffled=True)
    for way in ('t2i', 'i2t'):
        assert plain[f'drawing_{way}_r1/s=1'] > 0.75
        assert shuffled[f'drawing_{way}_r1/s=1'] < 1 / 6 + 0.2
    for gain in (f'prompt_gain/{stream}' for stream in kit.STREAMS):
        assert plain[gain] > 3 * plain[f'{gain}/stderr']
        assert shuffled[gain] < 2 * shuffled[f'{gain}/stderr']


def test_blank_images_are_answered_by_majority(plain, frozen_words):
    """Six answers, equally frequent: who sees the images is right, who sees grey is right about one of six."""
    blank = train_and_measure(*frozen_words, blank=True)
    assert plain['answers'] > 0.8 and blank['majority'] == pytest.approx(1 / 6)
    assert blank['answers'] <= blank['majority']
