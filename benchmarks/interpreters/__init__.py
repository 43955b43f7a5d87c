"""The study of interpreters: what each costs, and what can be certified of it."""
