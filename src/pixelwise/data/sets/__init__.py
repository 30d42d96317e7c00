"""The known data sets, one file each: their classes, and the folders by which they are recognized."""
