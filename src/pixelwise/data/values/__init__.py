"""What the values of masks mean: encodings, blended edges, files of class names, known palettes."""
