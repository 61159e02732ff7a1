"""Which model is meant, its memory, how it is loaded, its adapters, and the form of its prompts."""
