"""How long a context a live server really holds: what it accepts, in time, and still finds what is in it."""
