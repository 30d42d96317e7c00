"""`python -m pixelwise` is the command line."""

from pixelwise.cli.main import main

main()
