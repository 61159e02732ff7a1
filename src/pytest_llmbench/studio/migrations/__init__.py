"""How the database of an older studio becomes that of this one (alembic)."""
