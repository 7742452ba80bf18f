"""Sentences and pairs of sentences to one of C classes, by encoders with attention."""
