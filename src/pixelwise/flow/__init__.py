"""The whole flow: what is this folder, what to train and why, and fit itself."""
