"""The frozen teacher of a tokenizer: its output is computed, read from disk, or taken from the student's own trunk."""
from dtbox.training.teacher.teacher import Student, Teacher, build_teacher

__all__ = ['Student', 'Teacher', 'build_teacher']
