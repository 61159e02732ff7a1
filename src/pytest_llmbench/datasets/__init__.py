"""Datasets: made from sources or by a model, validated, checked and split, in files of any size."""
