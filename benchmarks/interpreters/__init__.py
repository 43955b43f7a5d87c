"""The certificate study: what the certificates are worth on the shipped images, beside the literature's."""
