"""What was run: a record on disk, MLflow, exported students."""
