"""Annotation formats, one file each: outlines and objects that become masks."""
