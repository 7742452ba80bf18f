"""Boards made from the record: variants, statistics, tables and files."""
