"""Does this fine-tune beat its base? Benchmarks of language models as pytest items."""

__version__ = "0.1.0"
