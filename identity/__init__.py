"""The private CA, and the certificates that say who is who."""
