"""Speech: audio to token sequences by attention encoder-decoders, close-talk for teachers, far-field for students."""
