"""Why a server's limit is where it is."""
