"""Recipes, losses, optimizers, the loop and its state."""
