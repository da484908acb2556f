"""Looks: camera in, shots out. The only place that knows OpenCV."""
