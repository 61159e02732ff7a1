"""Settings that a server is launched with: by arithmetic, as command lines and as files."""
