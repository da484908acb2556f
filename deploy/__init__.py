"""What brings the system to containers, clusters and AWS."""
