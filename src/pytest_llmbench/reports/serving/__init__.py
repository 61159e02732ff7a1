"""What a person reads after a search for the limits of live servers: JSON, page, text and terminal lines."""
