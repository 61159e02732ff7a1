"""Which of base, fine-tune and retrieval answers a test set best, and what the fine-tune forgot."""
