"""The commands, by what one does with them: parse, call the library, print."""
