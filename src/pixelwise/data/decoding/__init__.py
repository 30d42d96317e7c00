"""The parts of `data.decode`: files and their first bytes, numbers, and what Pillow and tifffile read."""
