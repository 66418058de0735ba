"""The frozen teacher of a tokenizer: what it says, what of it is computed, read from disk, or taken from the student's own trunk."""
from dtbox.training.teacher.teacher import Student, Teacher, build_teacher

__all__ = ['Student', 'Teacher', 'build_teacher']
