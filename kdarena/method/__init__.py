"""The contract of a method: its declaration, its hooks and what they are given."""
