"""Metrics of benchmarks by hand. Ranks, merging and missing parts are tested by the contract (`tests/testing`)."""
import pytest
import torch

from dtbox.errors import InputError
from dtbox.evaluation import MME, POPE, CIDErD, GQAAccuracy, MultipleChoice, VQAAccuracy
from dtbox.evaluation.functional import cider_d
from dtbox.evaluation.functional.yes_no import COGNITION, PERCEPTION
from dtbox.mllm_output import MLLMOutput, Reply
from dtbox.questions import Question
from dtbox.structures import Batch
from tests.mllm_outputs import run


def replies_to(*pairs):
    """Return (Batch, MLLMOutput) of (Question or None, reply), an image each."""
    images = torch.zeros(len(pairs), 3, 2, 2)
    replies = [[] if asked is None else [Reply('question', asked.text, '', text, asked=asked)]
               for asked, text in pairs]
    return Batch(images=images, keys=[str(i) for i in range(len(pairs))]), MLLMOutput(images, replies=replies)


def ask(*answers, category='', key='1', options=None, group=''):
    """Return a Question."""
    return Question(key, key, 'What?', answers, category, options or {}, group=group)


def values(metric, *pairs):
    """Return name -> value without standard errors."""
    return {name: value for name, value in run(metric, replies_to(*pairs)).compute().items()
            if not name.endswith('/stderr')}


def test_means_and_categories():
    """Accuracies .3 and 1 of one kind, 0 of another; the standard error is that of three numbers."""
    ten = ['red'] + ['blue'] * 9
    pairs = [(ask(*ten, category='other'), 'red'), (ask(*ten, category='other'), 'blue'),
             (ask(*ten, category='yes/no'), 'no')]
    metric = run(VQAAccuracy(), replies_to(*pairs))
    found = metric.compute()
    assert found['vqa_accuracy'] == pytest.approx(1.3 / 3) and found['vqa_accuracy/other'] == pytest.approx(0.65)
    assert found['vqa_accuracy/yes_no'] == 0
    assert found['vqa_accuracy/stderr'] == pytest.approx(torch.tensor([.3, 1, 0]).std().item() / 3 ** 0.5)
    assert metric.samples()['vqa_accuracy'] == pytest.approx([.3, 1, 0])


def test_what_cannot_be_scored_is_counted():
    """Questions without an answer in the file, and images that nobody asked about."""
    metric = run(GQAAccuracy(), replies_to((ask('yes'), 'Yes'), (ask(), 'yes'), (None, '')))
    assert metric.compute() == {'gqa_accuracy': 1}
    assert metric.skipped == ('images without a question of a benchmark (1 image); questions without a right answer in '
                              'the file (1 image)')
    assert metric.samples()['gqa_accuracy'][0] == 1
    assert run(GQAAccuracy(), replies_to((ask(), 'yes'))).compute() == {}


def test_rules_are_named():
    assert values(GQAAccuracy('llava', prefix='llava'), (ask('yes'), 'Yes!')) == {'llava/gqa_accuracy': 0}
    for kind, says in ((VQAAccuracy, 'official, always, lmms_eval'), (GQAAccuracy, 'lmms_eval, llava'),
                       (POPE, 'llava, lmms_eval'), (MultipleChoice, 'first_character, vlmevalkit')):
        with pytest.raises(InputError, match=f"no rule 'mine'. There are: {says}"):
            kind('mine')


def test_pope_means_over_categories_or_questions():
    """Two right of two, none of one: LLaVA's mean is 1/2, lmms-eval's 2/3."""
    pairs = [(ask('yes', category='random'), 'yes'), (ask('no', category='random'), 'no'),
             (ask('yes', category='popular'), 'no')]
    assert values(POPE('llava'), *pairs)['pope_accuracy'] == 0.5
    found = values(POPE('lmms_eval'), *pairs)
    assert found['pope_accuracy'] == pytest.approx(2 / 3) and found['pope_accuracy/random'] == 1
    assert found['pope_recall'] == 0.5 and found['pope_yes_ratio'] == pytest.approx(2 / 3)


def two(category, image, *replies):
    """Return the questions about an image of MME, the right answers yes and no."""
    return [(ask(truth, category=category, group=f'{category}/{image}'), reply)
            for truth, reply in zip(('yes', 'no'), replies)]


def test_sums_of_mme_need_all_categories():
    pairs = [pair for part in PERCEPTION for pair in two(part, 'a', 'Yes', 'No')]
    metric = run(MME(), replies_to(*pairs, *two('code_reasoning', 'a', 'Yes', 'Yes')))
    found = metric.compute()
    assert found['mme_perception'] == 2000 and 'mme_cognition' not in found and found['mme/code_reasoning'] == 50
    assert metric.skipped == f'mme_cognition lacks {", ".join(part for part in COGNITION if part != "code_reasoning")}'


def test_half_an_image_of_mme_is_left_out():
    metric = run(MME(), replies_to(*two('count', 'a', 'yes', 'no'), *two('count', 'b', 'no', 'no')[:1]))
    assert metric.compute()['mme/count'] == 200 and 'not both questions were asked (1)' in metric.skipped


def test_letters():
    """The first order counts for the accuracy, all orders for the circular one."""
    options = dict(A='cat', B='dog')
    pairs = [(ask('A', key='1', options=options, group='1', category='x'), 'A'),
             (ask('B', key='1000001', options=options, group='1', category='x'), 'A'),
             (ask('B', key='2', options=options, group='2', category='y'), 'dog'),
             (ask('A', key='1000002', options=options, group='2', category='y'), '?'),
             (ask('A', key='3', options=options, group='3', category='y'), 'a cat'),
             (ask('B', key='1000003', options=options, group='3', category='y'), 'B')]
    found = values(MultipleChoice('vlmevalkit', circular=True), *pairs)
    assert found == pytest.approx({'choice_accuracy': 1, 'choice_accuracy/x': 1, 'choice_accuracy/y': 1,
                                   'circular_accuracy': 1 / 3, 'circular_accuracy/x': 0, 'circular_accuracy/y': 0.5,
                                   'letter_found': 5 / 6})
    found = values(MultipleChoice('first_character'), *pairs[:2], (ask('B', options=options), 'B) a dog'))
    assert found['choice_accuracy'] == 1 and 'circular_accuracy' not in found


def test_captions_in_the_unit_of_papers():
    """100 times the mean of CIDEr-D of tokenized captions; leave one out where an image has several."""
    pairs = [(ask('A red dog.', 'The dog, red'), 'a red Dog!'), (ask('two cats'), 'two dogs')]
    found = values(CIDErD(), *pairs)
    references = [['a red dog', 'the dog red'], ['two cats']]
    assert found['cider_d'] == pytest.approx(50 * sum(cider_d(['a red dog', 'two dogs'], references)))
    one, other = (cider_d([text, 'two cats'], references)[0] for text in references[0])
    assert found['cider_d_itself'] == pytest.approx(100 * ((one + other) / 2 + 5) / 2)
    assert 0 < found['cider_d_leave_one_out'] < found['cider_d_itself']
