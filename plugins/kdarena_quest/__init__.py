"""QuEST: the teacher's features, quantised to a visual vocabulary, are predicted by the student."""

from kdarena_quest.method import Quest

variants = (Quest,)
