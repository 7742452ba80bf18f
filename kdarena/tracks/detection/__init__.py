"""The track of object detection: boxes and classes of what is in an image."""
