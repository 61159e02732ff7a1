"""llama.cpp's own server, run by us on loopback."""
