"""Bus in, bucket out: stores each capture exactly once and says so by a receipt."""
