"""Benchmarks in miniature, in their official formats."""
import base64
import csv
import io
import json

import numpy as np
from PIL import Image

from dtbox.evaluation.functional.yes_no import COGNITION, PERCEPTION

NAMES = ('COCO_val2014_000000000001.jpg', 'COCO_val2014_000000000002.jpg')


def make_image(number):
    """Return a small image of a colour of its own."""
    return Image.fromarray(np.full((12, 16, 3), [40 * number % 256, 90, 200 - number], np.uint8))


def write_image(path, number=1):
    """Write an image as PNG, whatever the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_image(number).save(path, 'PNG')


def write_json(path, value):
    """Write a JSON file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_lines(path, rows):
    """Write JSON lines; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def write_pope(root):
    """POPE: two questions in each category."""
    for category in ('random', 'popular', 'adversarial'):
        write_lines(root / f'coco_pope_{category}.json', [
            dict(question_id=i + 1, image=name, text=f'Is there a {category} dog in the image?',
                 label=('yes', 'no')[i]) for i, name in enumerate(NAMES)])
    for i, name in enumerate(NAMES):
        write_image(root / 'val2014' / name, i)
    return root


def write_vqav2(root, split='val2014', annotations=True):
    """VQAv2: three questions about two images, the answers of ten people."""
    part = split.replace('-dev', '')
    rows = [dict(question_id=1000, image_id=1, question='How many dogs?'),
            dict(question_id=1001, image_id=1, question='Is it red?'),
            dict(question_id=2000, image_id=2, question='What colour?')]
    about = dict(info={}, license={}, data_type='mscoco', data_subtype=split)
    write_json(root / f'v2_OpenEnded_mscoco_{split}_questions.json',
               dict(about, task_type='Open-Ended', questions=rows))
    said = [['2'] * 6 + ['two'] * 4, ['yes'] * 10, ['red'] * 2 + ['dark red.'] * 3 + ['pink'] * 5]
    if annotations:
        write_json(root / f'v2_mscoco_{split}_annotations.json', dict(about, annotations=[
            dict(question_id=row['question_id'], image_id=row['image_id'], question_type='what', answer_type=kind,
                 multiple_choice_answer=answers[0],
                 answers=[dict(answer=text, answer_confidence='yes', answer_id=i + 1)
                          for i, text in enumerate(answers)])
            for row, answers, kind in zip(rows, said, ('number', 'yes/no', 'other'))]))
    for i in (1, 2):
        write_image(root / part / f'COCO_{part}_{i:012d}.jpg', i)
    return root


def write_gqa(root):
    """GQA: two questions."""
    write_json(root / 'testdev_balanced_questions.json', {
        '201307251': dict(imageId='n161313', question='Is it overcast?', answer='no', fullAnswer='No, it is clear.',
                          isBalanced=True, types=dict(structural='verify', semantic='global', detailed='weather')),
        '201640614': dict(imageId='n235859', question='Who is wearing the dress?', answer='woman',
                          fullAnswer='A woman.', isBalanced=True, types=dict(structural='query'))})
    for i, name in enumerate(('n161313', 'n235859')):
        write_image(root / 'images' / f'{name}.jpg', i)
    return root


def write_mme(root, categories=(*PERCEPTION, *COGNITION)):
    """MME: one image with two questions in each category; half of the categories keep images and questions apart."""
    for i, category in enumerate(categories):
        folder = root / category
        images, texts = (folder / 'images', folder / 'questions_answers_YN') if i % 2 else (folder, folder)
        write_image(images / '0001.png', i)
        texts.mkdir(parents=True, exist_ok=True)
        (texts / '0001.txt').write_text(f'Is it {category}? Please answer yes or no.\tYes\n'
                                        'Is it blue?  Please answer yes or no.\tNo\n')
    return root


def write_seed(root):
    """SEED-Bench: two questions about images, one about a video."""
    def row(number, kind, **more):
        return dict(question_id=str(number), data_id=f'{number}_7', data_type=kind, question='How many?', answer='B',
                    question_type_id=1, choice_a='One', choice_b=2, choice_c='Three', choice_d='Four', **more)
    write_json(root / 'SEED-Bench.json', dict(
        question_type={'Scene Understanding': 1, 'Action Recognition': 10},
        questions=[row(101, 'image'), dict(row(102, 'image'), answer='D'), row(103, 'video', segment=[0, 1])]))
    for number in (101, 102):
        write_image(root / 'SEED-Bench-image' / f'{number}_7', number)
    return root


def encode(number):
    """Return an image as base64."""
    handle = io.BytesIO()
    make_image(number).save(handle, 'PNG')
    return base64.b64encode(handle.getvalue()).decode()


TABLE = ('index', 'question', 'hint', 'A', 'B', 'C', 'D', 'answer', 'category', 'image')


def write_table(path, rows, names=TABLE):
    """Write a table as pandas does; None is an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='') as f:
        csv.writer(f, delimiter='\t', lineterminator='\n').writerows([names, *rows])
    return path


def write_mmbench(root, rotations=True):
    """A table of VLMEvalKit: a question of three options with its rotations, and one of two options with a hint."""
    rows = [(7, 'Which "pet"?', None, 'cat', 'dog', 'cow', None, 'A', 'attribute (a/b)', encode(7)),
            (8, 'Which one\tis it?', 'Look\nup.', 'sun', 'moon', None, None, 'B', 'logic', encode(8))]
    if rotations:
        rows += [(1000007, 'Which "pet"?', None, 'dog', 'cow', 'cat', None, 'C', 'attribute (a/b)', '7'),
                 (2000007, 'Which "pet"?', None, 'cow', 'cat', 'dog', None, 'B', 'attribute (a/b)', '7'),
                 (1000008, 'Which one\tis it?', 'Look\nup.', 'moon', 'sun', None, None, 'A', 'logic', '8')]
    write_table(root / 'MMBench_DEV_EN.tsv', rows)
    return root


def write_mmvet(root):
    """MM-Vet: two questions."""
    write_json(root / 'mm-vet.json', {f'v1_{i}': dict(imagename=f'v1_{i}.png', question=f'What is x{i}?', answer='1',
                                                      capability=['math']) for i in range(2)})
    for i in range(2):
        write_image(root / 'images' / f'v1_{i}.png', i)
    return root


def write_questions(root):
    """A question file of LLaVA."""
    write_lines(root / 'questions.jsonl', [
        dict(question_id=i, image=f'{i}.png', text=f'What is "{i}"?\nAnswer shortly.', category='conv')
        for i in (3, 5)])
    for i in (3, 5):
        write_image(root / f'{i}.png', i)
    return root


WRITERS = dict(POPEQuestions=write_pope, VQAv2Questions=write_vqav2, GQAQuestions=write_gqa, MMEQuestions=write_mme,
               SEEDQuestions=write_seed, VLMEvalKitTSV=write_mmbench, MMVetQuestions=write_mmvet,
               LLaVAQuestions=write_questions)
"""Dataset -> what writes its files into a folder."""
