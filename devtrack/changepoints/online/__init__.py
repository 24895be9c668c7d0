"""Detection while a run goes on."""
