"""Looks for faces, keeps them in the outbox, sends them until a receipt comes home."""
