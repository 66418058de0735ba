"""Benchmarks of multimodal language models, read from their official files.

`base` what they share; `files` JSON, JSON lines and tables; `vqa` VQAv2 and GQA; `yes_no` POPE and MME; `choices`
SEED-Bench and tables of VLMEvalKit (MMBench); `open_questions` question files of LLaVA, MM-Vet, captions of any data
set; `answers` files of answers, written and read.
"""
from dtbox.datasets.benchmarks.base import BenchmarkDataset
from dtbox.datasets.benchmarks.choices import SEEDQuestions, VLMEvalKitTSV
from dtbox.datasets.benchmarks.open_questions import AskedCaptions, LLaVAQuestions, MMVetQuestions
from dtbox.datasets.benchmarks.vqa import GQAQuestions, VQAv2Questions
from dtbox.datasets.benchmarks.yes_no import MMEQuestions, POPEQuestions

__all__ = ['AskedCaptions', 'BenchmarkDataset', 'GQAQuestions', 'LLaVAQuestions', 'MMEQuestions', 'MMVetQuestions',
           'POPEQuestions', 'SEEDQuestions', 'VLMEvalKitTSV', 'VQAv2Questions']
