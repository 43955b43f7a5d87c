"""Whether an attack in the norm of the noise breaks the certificates that reach farthest."""
