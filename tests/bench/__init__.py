"""Measurements that anyone can repeat: ./just bench."""
