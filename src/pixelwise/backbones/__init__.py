"""Classification networks under their papers' names, giving the maps that a segmenter reads."""
