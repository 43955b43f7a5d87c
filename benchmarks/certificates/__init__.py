"""The certificate study: what the certificates are worth on eight films, beside the literature's."""
