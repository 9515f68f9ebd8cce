"""Used by all other subpackages: files, values, tables of text, this machine."""
