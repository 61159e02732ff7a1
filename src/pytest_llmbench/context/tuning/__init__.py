"""The launch settings that let a server hold most users: a search over real servers, and its confirmation."""
