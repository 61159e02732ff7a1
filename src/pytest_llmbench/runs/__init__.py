"""What a session leaves: run folders and documents, baselines, comparisons, gates."""
