"""An OpenAI-compatible server as the one who answers."""
